"""The failures that the runtime itself finds."""

from __future__ import annotations


class Failure(Exception):
    """The attempt has failed, and another may do better; the message is a lower-case sentence."""


class NonRecoverable(Failure):
    """Trying again cannot help: Flyte is told so. `code` is a word for its console."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

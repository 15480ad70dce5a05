"""Stands in for the command line of Metaflow in the child, and explains what went wrong.

Part of the probe: runs in the user's interpreter (3.8 or newer) and imports nothing of mfbuild.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Problem = dict[str, Any]

_COMMAND = "mfbuild-describe"
_OLDEST = "2.19.10"


class Loading:
    """One load: `install` it, run the flow file, then ask for `flow` and `problems_of`.

    `describe` gets Metaflow's CLI state once the decorators are initialised; it returns the flow
    as JSON and a list of problems, of which one is empty. `explain` is the module probe_explain.
    """

    def __init__(
        self, request: dict[str, Any], describe: Callable[[Any], Any], explain: Any
    ) -> None:
        self.flow: dict[str, Any] | None = None
        self._request = request
        self._describe = describe
        self._explain = explain
        self._problems: list[Problem] = []
        self._started: list[str] = []

    def install(self) -> None:
        """Wait until the flow itself imports Metaflow.

        metaflow.cli takes its options from the flow that runs, and the flow may set METAFLOW_*
        before it imports anything of Metaflow: so nothing of it may be imported earlier.
        """
        sys.meta_path.insert(0, _AfterImport("metaflow.util", _allow_no_user))
        sys.meta_path.insert(0, _AfterImport("metaflow.cli", self._adapt))

    def problems_of(self, error: BaseException | None) -> list[Problem]:
        """What is wrong with the flow, when its file has ended, with `error` or without."""
        if self._problems:
            return self._problems
        if not self._started:
            return [self._explain.not_started(error, self._request["flow"])]
        if self.flow is None:
            message, flow = (
                "the options end Metaflow before it reads the flow",
                self._request["flow"],
            )
            return [self._explain.problem(message, flow, None, "usage")]
        return list(self._explain.several(self._started, self._request["flow"]))

    def _adapt(self, cli: Any) -> None:
        """Put the probe in the place where a command of metaflow.cli would run."""
        cli.main = lambda flow, *_, **__: self._main(cli, flow)
        if not _is_known(cli):
            return
        click: Any = sys.modules["metaflow._vendor.click"]
        command = click.command(_COMMAND)(click.pass_obj(self._command))
        # No other command can run, whatever the options say.
        cli.start.get_command = lambda _, name: command if name == _COMMAND else None
        cli.DATASTORES = [_offline(datastore) for datastore in cli.DATASTORES]
        for name in ("kubernetes", "batch"):
            _adapt_remote(cli.decorators.get_all_step_decos().get(name))

    def _main(self, cli: Any, flow: Any) -> None:
        """As metaflow.cli.main, but failures are kept instead of printed."""
        self._started.append(flow.name)
        if not _is_known(cli):
            message = f"metaflow {cli.metaflow_version.get_version()} is too old"
            hint = f"upgrade it to {_OLDEST} or newer"
            self._problems = [self._explain.problem(message, self._request["flow"], hint, "usage")]
        elif len(self._started) == 1:
            warnings.filterwarnings("ignore")
            state = cli.CliState(flow)
            state.entrypoint = [sys.executable, sys.argv[0]]
            arguments = [
                *self._request["options"],
                "--quiet",
                "--no-pylint",
                "--environment=pypi",
                "--event-logger=nullSidecarLogger",
                "--monitor=nullSidecarMonitor",
                _COMMAND,
            ]
            try:
                cli.start.main(
                    args=arguments, obj=state, auto_envvar_prefix="METAFLOW", standalone_mode=False
                )
            except (Exception, SystemExit) as error:
                self._problems = [self._explain.failure(error, self._request["flow"])]
        sys.exit(1 if self._problems else 0)

    def _command(self, state: Any) -> None:
        self.flow, self._problems = self._describe(state)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls `then` with the module `name` once that was imported."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _is_known(cli: Any) -> bool:
    """Whether this Metaflow keeps what it knows of a flow where the probe looks for it."""
    return hasattr(cli, "FlowStateItems")


def _allow_no_user(util: Any) -> None:
    """Metaflow fails where $USER is not set, as in a container; no result depends on it."""
    resolve = util.resolve_identity_as_tuple

    def resolve_identity_as_tuple() -> tuple[str, str]:
        try:
            kind, name = resolve()
        except Exception:
            return "user", "unknown"
        return kind, name

    util.resolve_identity_as_tuple = resolve_identity_as_tuple


def _offline(datastore: Any) -> Any:
    """The same datastore without a client, and without making its folder."""
    configured_root = datastore.get_datastore_root_from_config

    def root_from_config(echo: Any, create_on_absent: bool = True) -> str:
        return str(configured_root(echo, create_on_absent=False) or Path.cwd() / ".metaflow")

    def __init__(self: Any, root: str | None = None) -> None:  # noqa: N807
        self.datastore_root = root or self.datastore_root

    members = {
        "__init__": __init__,
        "get_datastore_root_from_config": staticmethod(root_from_config),
    }
    if datastore.TYPE == "local":  # @pypi asks the class itself
        datastore.get_datastore_root_from_config = staticmethod(root_from_config)
    return type(datastore.__name__, (datastore,), members)


def _adapt_remote(decorator: Any) -> None:
    """Let @kubernetes and @batch be read where their cluster is not set up.

    Their checks want a remote datastore and a client package here; what the pods use is the
    deployment's matter. `mfbuild_image` keeps the image as the user wrote it.
    """
    if decorator is None:
        return
    init, step_init = decorator.init, decorator.step_init

    def keep_image(self: Any) -> None:
        self.mfbuild_image = self.attributes.get("image")
        init(self)

    def initialise(self: Any, *arguments: Any) -> None:
        *others, datastore, logger = arguments
        step_init(self, *others, _Remote if datastore.TYPE == "local" else datastore, logger)

    decorator.init, decorator.step_init = keep_image, initialise
    decorator.package_init = lambda *_: None


class _Remote:
    """A datastore that passes for a remote one."""

    TYPE = "s3"

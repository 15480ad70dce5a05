"""Which domain a flow goes to: what people say of it, in the order in which that counts."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mfbuild.config import DEFAULT_DOMAINS, Config
from mfbuild.errors import UsageError
from mfbuild.flow.spec import Destination


def choose_domain(
    given: str | None, flyte: Destination | None, branch: str | None, config: Config
) -> str:
    """The domain: the flag's, @flyte's, MFBUILD_DOMAIN, the one of BUILD.toml that has `branch`.

    `branch` is @project's as Metaflow calls it (`user.ada`, `test.exp`, `prod`). Without any of
    these it is `development`, or the only domain that there is; UsageError where that says nothing.
    """
    said = given or (flyte.domain if flyte else None) or config.flyte_domain
    if found := said or _of_branch(branch, config):
        return found
    if DEFAULT_DOMAINS[0] in config.domains:
        return DEFAULT_DOMAINS[0]
    if len(config.domains) == 1:
        return next(iter(config.domains))
    known = ", ".join(f"`{name}`" for name in config.domains)
    raise UsageError("nothing says which domain", hint=f"give --domain; there are {known}")


def _of_branch(branch: str | None, config: Config) -> str | None:
    """The first domain whose `branches` match."""
    for name, domain in config.domains.items():
        if branch and any(fnmatchcase(branch, pattern) for pattern in domain.branches):
            return name
    return None

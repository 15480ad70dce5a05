"""`Deployer("flow.py").flyte(domain="staging").create()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from metaflow.runner.deployer_impl import DeployerImpl

if TYPE_CHECKING:
    from .deployed import FlyteDeployedFlow


class FlyteDeployer(DeployerImpl):
    """
    Deployer implementation for Flyte.

    Parameters
    ----------
    project : str, optional, default None
        Flyte's project. That of @flyte or BUILD.toml by default.
    domain : str, optional, default None
        Flyte's domain. That of @flyte or BUILD.toml by default.
    """

    TYPE = "flyte"

    def __init__(self, deployer_kwargs: dict[str, Any], **kwargs: Any) -> None:
        self._deployer_kwargs = deployer_kwargs
        super().__init__(**kwargs)

    @property
    def deployer_kwargs(self) -> dict[str, Any]:
        """What the group `flyte` of the command line is given."""
        return self._deployer_kwargs

    @staticmethod
    def deployed_flow_type() -> type[FlyteDeployedFlow]:
        """What `create` returns."""
        from .deployed import FlyteDeployedFlow

        return FlyteDeployedFlow

    def create(self, **kwargs: Any) -> FlyteDeployedFlow:
        """
        Deploy the flow to Flyte: package it, push it, and make it the active version.

        Parameters
        ----------
        authorize : str, optional, default None
            Authorize using this production token. Required when re-deploying an existing flow
            for the first time. The token is cached in METAFLOW_HOME.
        generate_new_token : bool, optional, default False
            Generate a new production token for this flow.
        given_token : str, optional, default None
            Use the given production token for this flow.
        tags : List[str], optional, default None
            Annotate all objects produced by runs on Flyte with these tags.
        user_namespace : str, optional, default None
            Change the namespace from the default (production token) to the given tag.
        max_workers : int, optional, default None
            Maximum number of nodes that run at once.

        Returns
        -------
        FlyteDeployedFlow
            The flow deployed to Flyte.
        """
        from .deployed import FlyteDeployedFlow

        return cast(FlyteDeployedFlow, self._create(FlyteDeployedFlow, **kwargs))


_addl_stubgen_modules = ["metaflow_extensions.mfbuild.plugins.flyte.deployed"]

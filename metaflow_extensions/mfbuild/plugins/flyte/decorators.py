"""@flyte, one name for flows and for steps."""

from __future__ import annotations

from typing import Any

from metaflow.decorators import (
    FlowDecorator,
    StepDecorator,
    _base_flow_decorator,
    _base_step_decorator,
)
from metaflow.exception import MetaflowException
from metaflow.user_decorators.user_flow_decorator import FlowMutator

_PLACE = {"project": None, "domain": None}


def flyte(*target: Any, **attributes: Any) -> Any:
    """Say where in Flyte a flow goes, or that a step of a local run is run there.

    Above a flow, `python flow.py flyte create` takes it there. Above a step, `python flow.py run`
    runs just that step as a task of Flyte, as `--with flyte` does for every step.

    Parameters
    ----------
    project : str, optional, default None
        Flyte's project. Else MFBUILD_PROJECT, or `project` in [flyte] of BUILD.toml.
    domain : str, optional, default None
        Flyte's domain. Else MFBUILD_DOMAIN, the domain of BUILD.toml that has @project's branch,
        `development`, or the only domain that there is.
    """

    def decorate(decorated: Any) -> Any:
        if isinstance(decorated, (type, FlowMutator)):
            return _base_flow_decorator(FlyteFlowDecorator, decorated, **attributes)
        return _base_step_decorator(FlyteStepDecorator, decorated, **attributes)

    return decorate(*target) if target else decorate


class FlyteFlowDecorator(FlowDecorator):
    """Where the flow goes. Nothing of it is in a version: the same bundle may go elsewhere."""

    name = "flyte"
    defaults = _PLACE

    def flow_init(self, flow: Any, *context: Any) -> None:
        _check(self.attributes, f"flow *{flow.name}*")


class FlyteStepDecorator(StepDecorator):
    """Runs a step of a local run as a task of Flyte; a flow that is in Flyte needs none of it."""

    name = "flyte"
    defaults = _PLACE
    _launch: Any = None
    """How the steps of this process's run are started; made by the first of them."""

    def step_init(
        self,
        flow: Any,
        graph: Any,
        step_name: str,
        decorators: Any,
        environment: Any,
        flow_datastore: Any,
        logger: Any,
    ) -> None:
        _check(self.attributes, f"step *{step_name}*")
        self._step = step_name
        self._others = {decorator.name for decorator in decorators}

    def runtime_init(self, flow: Any, graph: Any, package: Any, run_id: str) -> None:
        self._refuse()
        if FlyteStepDecorator._launch is None:
            from .launch import Launch

            FlyteStepDecorator._launch = Launch.of(flow)

    def runtime_step_cli(
        self, cli_args: Any, retry_count: int, max_user_code_retries: int, ubf_context: Any
    ) -> None:
        # Once all attempts have failed, what is left is @catch's, and runs here.
        if retry_count <= max_user_code_retries:
            self._launch.replace(cli_args, self._step, self.where)

    @property
    def where(self) -> tuple[str | None, str | None]:
        """The project and the domain of the step, None for those of the flow."""
        return self.attributes["project"], self.attributes["domain"]

    def _refuse(self) -> None:
        """What else a step may not ask for, in a run; in a deployment, @flyte means nothing."""
        for other in sorted(self._others & {"batch", "kubernetes", "parallel"}):
            raise MetaflowException(
                f"Step *{self._step}* has both @flyte and @{other}, which a local run cannot "
                "bring together. " + _INSTEAD[other]
            )


_COMPUTE = "Please use one or the other, and @resources for what it needs."
_INSTEAD = {
    "batch": _COMPUTE,
    "kubernetes": _COMPUTE,
    "parallel": "Flyte starts no gang of tasks; use a foreach.",
}


def _check(attributes: dict[str, Any], what: str) -> None:
    for name, value in attributes.items():
        if value is not None and not (isinstance(value, str) and value):
            raise MetaflowException(f"@flyte of {what}: *{name}* must be a name, not {value!r}.")

from pathlib import Path

from metaflow import (
    Config,
    FlowMutator,
    FlowSpec,
    Parameter,
    StepMutator,
    config_expr,
    project,
    pypi_base,
    resources,
    step,
)


class EveryStepRetries(FlowMutator):
    def pre_mutate(self, mutable_flow):
        for _, mutable_step in mutable_flow.steps:
            mutable_step.add_decorator("retry", deco_kwargs={"times": 1})


class WithVariable(StepMutator):
    def mutate(self, mutable_step):
        mutable_step.add_decorator("environment", deco_kwargs={"vars": {"ADDED": 1}})


@EveryStepRetries
@project(name=config_expr("plain.upper().lower()"))
@pypi_base(packages=config_expr("settings.packages"), python=config_expr("settings.python"))
class ConfiguredFlow(FlowSpec):
    """Config, mutators and a base decorator together."""

    settings = Config("settings", default=str(Path(__file__).with_name("settings.json")))
    plain = Config("plain", default_value="ml", plain=True)
    cpu = Parameter("cpu", default=config_expr("settings.cpu"))

    @resources(cpu=config_expr("settings.cpu"))
    @step
    def start(self):
        self.next(self.end)

    @WithVariable
    @step
    def end(self):
        pass


if __name__ == "__main__":
    ConfiguredFlow()

from metaflow import (
    FlowSpec,
    card,
    catch,
    environment,
    kubernetes,
    project,
    pypi,
    pypi_base,
    resources,
    retry,
    schedule,
    secrets,
    step,
    timeout,
)


@project(name="mlteam")
@schedule(weekly=True, timezone="Europe/Berlin")
@pypi_base(packages={"requests": ">=2", "numpy": "1.26.4"}, python="3.11")
class DecoratedFlow(FlowSpec):
    """Every decorator that says how a step runs."""

    @card
    @secrets(sources=["aws-secrets-manager.db", {"type": "az-key-vault", "id": "key"}])
    @retry(times=2, minutes_between_retries=0.5)
    @timeout(hours=1, minutes=2, seconds=3)
    @environment(vars={"MODE": "test", "LEVEL": 3, "NONE": None})
    @resources(cpu=4, memory=8000, gpu=1)
    @kubernetes(image="registry.example.com/base:1", cpu=2, disk=20000, labels={"team": "ml"})
    @pypi(packages={"numpy": "2.0.0", "torch": ""})
    @step
    def start(self):
        self.next(self.middle)

    @catch(var="failure", print_exception=False)
    @pypi(disabled=True)
    @step
    def middle(self):
        self.next(self.end)

    @resources(memory=500.5)
    @step
    def end(self):
        pass


if __name__ == "__main__":
    DecoratedFlow()

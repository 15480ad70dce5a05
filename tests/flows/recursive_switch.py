from metaflow import FlowSpec, step


class RecursiveSwitchFlow(FlowSpec):
    """A step that runs itself again until it is done."""

    @step
    def start(self):
        self.rounds = 0
        self.next(self.loop)

    @step
    def loop(self):
        self.rounds += 1
        self.again = "yes" if self.rounds < 3 else "no"
        self.next({"yes": self.loop, "no": self.end}, condition="again")

    @step
    def end(self):
        assert self.rounds == 3


if __name__ == "__main__":
    RecursiveSwitchFlow()

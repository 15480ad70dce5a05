from metaflow import FlowSpec, Parameter, step


class SwitchFlow(FlowSpec):
    choice = Parameter("choice", default="fast")

    @step
    def start(self):
        self.way = self.choice
        self.next({"fast": self.fast, "careful": self.careful}, condition="way")

    @step
    def fast(self):
        self.x = 1
        self.next(self.merge)

    @step
    def careful(self):
        self.x = 2
        self.next(self.merge)

    @step
    def merge(self):
        self.next(self.end)

    @step
    def end(self):
        assert self.x in (1, 2)


if __name__ == "__main__":
    SwitchFlow()

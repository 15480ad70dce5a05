from metaflow import FlowSpec, step


class SwitchInBranchFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.choose, self.other)

    @step
    def choose(self):
        self.way = "b"
        self.next({"a": self.a, "b": self.b}, condition="way")

    @step
    def a(self):
        self.x = 1
        self.next(self.merge)

    @step
    def b(self):
        self.x = 2
        self.next(self.merge)

    @step
    def merge(self):
        self.next(self.join)

    @step
    def other(self):
        self.x = 10
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 12


if __name__ == "__main__":
    SwitchInBranchFlow()

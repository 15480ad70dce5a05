from metaflow import FlowSpec, step


class BranchInSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.way = "both"
        self.next({"both": self.split, "neither": self.skip}, condition="way")

    @step
    def split(self):
        self.next(self.a, self.b)

    @step
    def a(self):
        self.x = 1
        self.next(self.join)

    @step
    def b(self):
        self.x = 2
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def skip(self):
        self.x = 0
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 3


if __name__ == "__main__":
    BranchInSwitchFlow()

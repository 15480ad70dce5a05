from metaflow import FlowSpec, step


class NestedSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.outer = "a"
        self.next({"a": self.again, "b": self.plain}, condition="outer")

    @step
    def again(self):
        self.inner = "d"
        self.next({"c": self.c, "d": self.d}, condition="inner")

    @step
    def c(self):
        self.x = "c"
        self.next(self.merge)

    @step
    def d(self):
        self.x = "d"
        self.next(self.merge)

    @step
    def merge(self):
        self.next(self.end)

    @step
    def plain(self):
        self.x = "plain"
        self.next(self.end)

    @step
    def end(self):
        assert self.x == "d"


if __name__ == "__main__":
    NestedSwitchFlow()

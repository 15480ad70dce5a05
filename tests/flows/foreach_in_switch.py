from metaflow import FlowSpec, step


class ForeachInSwitchFlow(FlowSpec):
    @step
    def start(self):
        self.way = "many"
        self.next({"many": self.fan, "one": self.one}, condition="way")

    @step
    def fan(self):
        self.items = [1, 2, 3]
        self.next(self.body, foreach="items")

    @step
    def body(self):
        self.x = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def one(self):
        self.x = 1
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 6


if __name__ == "__main__":
    ForeachInSwitchFlow()

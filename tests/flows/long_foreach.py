from metaflow import FlowSpec, step


class LongForeachFlow(FlowSpec):
    """A foreach whose body is more than one step."""

    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.first, foreach="items")

    @step
    def first(self):
        self.x = self.input
        self.next(self.second)

    @step
    def second(self):
        self.x += 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 9


if __name__ == "__main__":
    LongForeachFlow()

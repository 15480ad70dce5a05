from metaflow import FlowSpec, step


class NestedForeachFlow(FlowSpec):
    @step
    def start(self):
        self.rows = ["a", "b"]
        self.next(self.outer, foreach="rows")

    @step
    def outer(self):
        self.columns = [1, 2, 3]
        self.next(self.inner, foreach="columns")

    @step
    def inner(self):
        self.cell = self.foreach_stack()
        self.next(self.inner_join)

    @step
    def inner_join(self, inputs):
        self.cells = len([i.cell for i in inputs])
        self.next(self.outer_join)

    @step
    def outer_join(self, inputs):
        self.cells = sum(i.cells for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.cells == 6


if __name__ == "__main__":
    NestedForeachFlow()

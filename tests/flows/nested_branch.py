from metaflow import FlowSpec, step


class NestedBranchFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.left, self.right)

    @step
    def left(self):
        self.next(self.left_a, self.left_b)

    @step
    def left_a(self):
        self.x = 1
        self.next(self.left_join)

    @step
    def left_b(self):
        self.x = 2
        self.next(self.left_join)

    @step
    def left_join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.join)

    @step
    def right(self):
        self.x = 10
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 13


if __name__ == "__main__":
    NestedBranchFlow()

from metaflow import FlowSpec, parallel, step


class GangFlow(FlowSpec):
    """Several tasks of one step that run together (@parallel)."""

    @step
    def start(self):
        self.next(self.train, num_parallel=2)

    @parallel
    @step
    def train(self):
        self.x = 1
        self.next(self.join)

    @step
    def join(self, inputs):
        self.x = sum(i.x for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.x == 2


if __name__ == "__main__":
    GangFlow()

from metaflow import FlowSpec, step


class RecursiveInForeachFlow(FlowSpec):
    @step
    def start(self):
        self.items = [1, 2, 3]
        self.next(self.begin, foreach="items")

    @step
    def begin(self):
        self.rounds = 0
        self.next(self.loop)

    @step
    def loop(self):
        self.rounds += 1
        self.again = "yes" if self.rounds < self.input else "no"
        self.next({"yes": self.loop, "no": self.leave}, condition="again")

    @step
    def leave(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.rounds = sum(i.rounds for i in inputs)
        self.next(self.end)

    @step
    def end(self):
        assert self.rounds == 6


if __name__ == "__main__":
    RecursiveInForeachFlow()

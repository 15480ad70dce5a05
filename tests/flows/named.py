from metaflow import FlowSpec, step


class NamedFlow(FlowSpec):
    @step(start=True)
    def begin(self):
        self.next(self.finish)

    @step(end=True)
    def finish(self):
        pass


if __name__ == "__main__":
    NamedFlow()

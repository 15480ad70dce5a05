from metaflow import FlowSpec, step


class LinearFlow(FlowSpec):
    """Two steps."""

    @step
    def start(self):
        """Begin."""
        self.value = 1
        self.next(self.end)

    @step
    def end(self):
        """Finish."""
        assert self.value == 1


if __name__ == "__main__":
    LinearFlow()

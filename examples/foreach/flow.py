from metaflow import FlowSpec, Parameter, retry, step


class ForeachFlow(FlowSpec):
    """Estimates pi from random points, several estimates in parallel."""

    estimates = Parameter("estimates", help="how many estimates to make", default=4)
    points = Parameter("points", help="how many points each estimate uses", default=100_000)

    @step
    def start(self):
        """Give each estimate a seed of its own."""
        self.seeds = list(range(self.estimates))
        self.next(self.estimate, foreach="seeds")

    @retry(times=2)
    @step
    def estimate(self):
        """Count the points that fall into the quarter circle."""
        import random

        source = random.Random(self.input)
        inside = sum(source.random() ** 2 + source.random() ** 2 <= 1 for _ in range(self.points))
        self.pi = 4 * inside / self.points
        self.next(self.join)

    @step
    def join(self, inputs):
        """Take the mean."""
        self.pi = sum(task.pi for task in inputs) / self.estimates
        self.next(self.end)

    @step
    def end(self):
        """Print it."""
        print(f"pi is about {self.pi:.4f}")


if __name__ == "__main__":
    ForeachFlow()

from metaflow import FlowSpec, Parameter, pypi, resources, step


class TrainFlow(FlowSpec):
    """Fits a ridge regression; each step has only the packages that it needs."""

    alpha = Parameter("alpha", help="strength of the regularization", default=0.1)
    rows = Parameter("rows", help="how many rows of data to make", default=200)

    @pypi(packages={"pandas": "2.2.3"})
    @step
    def start(self):
        """Make a table of flats: size, age, and a price that depends on both."""
        import random

        import pandas as pd

        source = random.Random(7)
        flats = pd.DataFrame(
            {
                "size": [source.uniform(20, 120) for _ in range(self.rows)],
                "age": [source.uniform(0, 80) for _ in range(self.rows)],
            }
        )
        noise = [source.gauss(0, 10) for _ in range(self.rows)]
        flats["price"] = 50 + 4 * flats["size"] - 1.5 * flats["age"] + noise
        self.flats = flats.to_dict("list")
        self.next(self.train)

    @resources(cpu=2, memory=2048)
    @pypi(packages={"pandas": "2.2.3", "scikit-learn": "1.5.2"})
    @step
    def train(self):
        """Fit the model on three quarters of the rows and score it on the rest."""
        import pandas as pd
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import train_test_split

        flats = pd.DataFrame(self.flats)
        fitting, testing = train_test_split(flats, random_state=0)
        model = Ridge(alpha=self.alpha).fit(fitting[["size", "age"]], fitting["price"])
        self.coefficients = dict(zip(["size", "age"], map(float, model.coef_)))
        self.score = float(model.score(testing[["size", "age"]], testing["price"]))
        self.next(self.end)

    @step
    def end(self):
        """Report; plain Python, so this step needs no packages at all."""
        print(f"R2 {self.score:.3f} with alpha {self.alpha}")
        for name, value in self.coefficients.items():
            print(f"  {name}: {value:+.2f}")


if __name__ == "__main__":
    TrainFlow()

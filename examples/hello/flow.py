from metaflow import FlowSpec, Parameter, step


class HelloFlow(FlowSpec):
    """Says hello: two steps, no packages."""

    name_to_greet = Parameter("name", help="whom to greet", default="world")

    @step
    def start(self):
        """Make the greeting."""
        self.greeting = f"hello, {self.name_to_greet}"
        self.next(self.end)

    @step
    def end(self):
        """Say it."""
        print(self.greeting)


if __name__ == "__main__":
    HelloFlow()

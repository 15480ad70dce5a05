from inherited_base import BaseFlow
from metaflow import step


class InheritedFlow(BaseFlow):
    """Takes its first step from a class of another file."""

    @step
    def end(self):
        pass


if __name__ == "__main__":
    InheritedFlow()

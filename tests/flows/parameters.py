from pathlib import Path

from metaflow import FlowSpec, IncludeFile, JSONType, Parameter, step
from metaflow._vendor.click import Choice


def count(context):
    return len(context.flow_name)


def names(context):
    return ["deploy", context.parameter_name]


class ParametersFlow(FlowSpec):
    """Every kind of Parameter."""

    whole = Parameter("whole", default=3, help="an int")
    ratio = Parameter("ratio", type=float, default=1)
    text = Parameter("text", default="a b")
    flag = Parameter("flag", default=True)
    no_default = Parameter("no-default", type=int)
    needed = Parameter("needed", required=True)
    table = Parameter("table", type=JSONType, default='{"a": [1, null]}')
    listed = Parameter("listed", default="a,b", separator=",")
    chosen = Parameter("chosen", type=Choice(["a", "b"]), default="b")
    counted = Parameter("counted", type=int, default=count)
    named = Parameter("named", type=JSONType, default=names)
    included = IncludeFile("included", default=str(Path(__file__).with_name("data.txt")))
    raw = IncludeFile("raw", is_text=False)

    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    ParametersFlow()

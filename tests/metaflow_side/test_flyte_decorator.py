"""@flyte above flows and steps, and what Metaflow and mfbuild make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mfbuild.flow.codec import from_public_json, public_json
from mfbuild.flow.spec import Destination, FlowSpec
from tests.flow.loading import Loader
from tests.metaflow_side.flows import Metaflow, hello


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path / "flows", tmp_path / "cache", {"METAFLOW_USER": "ada"})


def spec_of(loader: Loader, above: str, start: str = "", *, name: str = "flow.py") -> FlowSpec:
    hello(loader.workspace / name, above, start)
    return loader(name).spec


@pytest.mark.parametrize(
    ("above", "destination"),
    [
        ("", None),
        ("@flyte", Destination(None, None)),
        ("@flyte()", Destination(None, None)),
        ("@flyte(domain='staging')", Destination(None, "staging")),
        ("@flyte(project='p', domain='staging')", Destination("p", "staging")),
    ],
)
def test_a_flow_says_where_it_goes(
    loader: Loader, above: str, destination: Destination | None
) -> None:
    assert spec_of(loader, above).flyte == destination


def test_where_a_flow_goes_is_in_no_version(loader: Loader) -> None:
    """The text of the flow is the same, so that nothing else tells the two apart."""
    above = "@flyte(domain=__import__('os').environ['PLACE'])"
    hello(loader.workspace / "flow.py", above, "@flyte(domain='a')")
    specs = [loader(PLACE=place).spec for place in ("a", "b")]
    assert [s.flyte for s in specs] == [Destination(None, "a"), Destination(None, "b")]
    assert public_json(specs[0]) == public_json(specs[1])
    assert "flyte" not in str(public_json(specs[0])["decorators"])
    assert "flyte" not in str(public_json(specs[0])["steps"])
    assert from_public_json(public_json(specs[0])).flyte is None


def test_a_config_may_say_where_a_flow_goes(loader: Loader) -> None:
    flow = hello(loader.workspace / "flow.py", "@flyte(domain=config_expr('where.domain'))")
    text = flow.read_text().replace("import FlowSpec", "import Config, config_expr, FlowSpec")
    text = text.replace(
        "    who = Param", '    where = Config("where", default_value={})\n    who = Param'
    )
    flow.write_text(text)
    options = ("--config-value", "where", '{"domain": "staging"}')
    assert loader(options=options).spec.flyte == Destination(None, "staging")


def test_a_mutator_may_add_it(loader: Loader) -> None:
    flow = hello(loader.workspace / "flow.py", "@place")
    mutator = (
        "from metaflow import FlowMutator\n"
        "class place(FlowMutator):\n"
        "    def pre_mutate(self, flow):\n"
        "        flow.add_decorator('flyte', deco_kwargs={'domain': 'staging'})\n"
        "    def mutate(self, flow):\n"
        "        flow.start.add_decorator('flyte')\n"
    )
    flow.write_text(mutator + flow.read_text())
    assert loader().spec.flyte == Destination(None, "staging")


@pytest.mark.parametrize(
    ("above", "start", "message"),
    [
        ("@flyte(domian='x')", "", "domian"),
        ("@flyte(domain=7)", "", "@flyte of flow Hello: domain must be a name, not 7."),
        ("", "@flyte(project='')", "@flyte of step start: project must be a name, not ''."),
        ("@flyte\n@flyte", "", "You can specify each decorator only once."),
        ("", "@flyte\n    @flyte", "You can specify this decorator only once."),
    ],
)
def test_a_wrong_one_is_refused_by_metaflow(
    metaflow: Metaflow, tmp_path: Path, above: str, start: str, message: str
) -> None:
    done = metaflow(hello(tmp_path / "flow.py", above, start), "show")
    assert done.code == 1
    assert message in " ".join(done.err.replace("\x1b[K", "").split())


def test_it_belongs_above_a_step(metaflow: Metaflow, tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    flow.write_text("from metaflow import flyte\n@flyte\ndef f():\n    pass\n")
    done = metaflow(flow)
    assert (
        "You tried to apply decorator 'flyte' on 'f' which is not declared as a @step" in done.err
    )


def test_metaflow_itself_gets_one_name(metaflow: Metaflow) -> None:
    code = (
        "import metaflow, sys; before = set(dir(metaflow)) ;"
        "print([n for n in before if 'flyte' in n or 'rival' in n or n == 'annotations'],"
        " [m for m in sys.modules if m.split('.')[0] in ('mfbuild', 'flyteidl', 'grpc')])"
    )
    assert metaflow.python("-c", code).out == "['flyte'] []\n"

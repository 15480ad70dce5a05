"""The tool `flyte.compile`: a flow's public JSON in, templates of Flyte's entities out."""

from __future__ import annotations

from mfbuild.engine.model import Work
from mfbuild.flow.codec import from_public_json
from mfbuild.flyte.compile import compile_flow


def run(work: Work) -> None:
    """Compile `spec`; the parameters are those of `compile_flow`, the output is `templates`."""
    compiled = compile_flow(
        from_public_json(work.params["spec"]),
        options=work.params["options"],
        resources=work.params["resources"],
        parallelism=work.params["parallelism"],
    )
    work.outputs["templates"].write_bytes(compiled.encode())

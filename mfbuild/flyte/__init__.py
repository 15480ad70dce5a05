"""The compiler: a FlowSpec becomes Flyte's protobufs and the plan (docs/flyte.md)."""

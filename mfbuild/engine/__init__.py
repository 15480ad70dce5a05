"""The build engine: content-addressed store, action cache, graph, plan and run."""

"""Names the module whose contents appear in `metaflow`."""

toplevel = "exports"

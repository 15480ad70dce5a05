"""From bundles to registrations, and what is done with what is registered (docs/push.md)."""

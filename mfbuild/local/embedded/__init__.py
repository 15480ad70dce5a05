"""The embedded backend: Flyte's registrations and executions in files of the workspace."""

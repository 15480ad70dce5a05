"""Flyte for Metaflow: @flyte, `python flow.py flyte …`, and the Deployer."""

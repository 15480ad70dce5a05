"""Runs one step of a Metaflow flow as a Flyte task; in an image it is the package mfbuild_runtime.

It imports nothing of mfbuild: only the standard library, metaflow, and a storage client on demand.
"""

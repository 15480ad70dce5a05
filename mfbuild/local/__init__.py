"""Runs a compiled workflow on this machine: no cluster, the same protobufs, the same images."""

"""The ports of mfbuild.flyte.backend over flyteidl's services: a Flyte, spoken to by gRPC."""

import os

if "GRPC_VERBOSITY" not in os.environ:
    # When it is imported, gRPC's core reads whether to tell of each failed handshake on stderr.
    os.environ["GRPC_VERBOSITY"] = "NONE"
    import grpc  # noqa: F401

    del os.environ["GRPC_VERBOSITY"]

"""The ports of mfbuild.flyte.backend over flyteidl's services: a Flyte, spoken to by gRPC."""

"""mfbuild packages Metaflow flows for Flyte: reproducible per-step images and a code tarball."""

__version__ = "0.1.0"

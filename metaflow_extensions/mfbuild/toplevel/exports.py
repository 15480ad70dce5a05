"""`from metaflow import flyte`: everything that is defined here appears in `metaflow`."""

from metaflow_extensions.mfbuild.plugins.flyte.claims import tell_rivals
from metaflow_extensions.mfbuild.plugins.flyte.decorators import flyte as flyte

tell_rivals()
del tell_rivals

__mf_extensions__ = "mfbuild"
__version__ = "0.1.0"  # mfbuild's, which no image has

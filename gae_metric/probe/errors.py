"""The error of probe sets and of maps that do not fit them."""

from gae_metric.errors import InputError


class ProbeError(InputError):
    """A probe set, or the maps that are to be scored with it, is not as described."""

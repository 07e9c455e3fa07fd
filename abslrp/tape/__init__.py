"""What one forward pass did to the input: its ATen calls, where the samples are, what is constant.

This room knows no rule: what it asks of one is :class:`abslrp.tape.values.Account`.
"""

from abslrp.tape.place import LostPlaceError, Place, SamplesMixedError
from abslrp.tape.recorder import Tape
from abslrp.tape.values import Account, Axes, Call, Value

__all__ = [
    "Account",
    "Axes",
    "Call",
    "LostPlaceError",
    "Place",
    "SamplesMixedError",
    "Tape",
    "Value",
]

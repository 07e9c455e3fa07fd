"""What one forward pass did to the input: its ATen calls, where the samples are, what is constant.

This room knows no rule; what it asks of one is in :class:`abslrp.tape.recorder.Table`.
"""

from abslrp.tape.dispatch import Tape
from abslrp.tape.place import Place
from abslrp.tape.values import Axes, Call, Value, WrittenOut

__all__ = ["Axes", "Call", "Place", "Tape", "Value", "WrittenOut"]

"""Where samples come out of a call that moves or adds entries, seen by moving their numbers."""

from typing import Any

import torch
from torch import Tensor

from abslrp.tape.place import LostPlaceError, Place, SamplesMixedError
from abslrp.tape.values import Call, Value, by_name, replaced

aten = torch.ops.aten
#: Of these an extreme would tell of one sample only, where several come together.
_ADDS = {"scatter_reduce": aten.scatter_add.default, "index_reduce": aten.index_add.default}


def numbers(value: Value) -> Tensor:
    """Return the number of the sample that each entry belongs to."""
    assert value.place is not None
    count = torch.arange(torch.Size(value.shape).numel(), device=value.device)
    return ((count // value.place.inner) % value.place.batch).view(value.shape).to(torch.float64)


def probed(call: Call, output: Value) -> Place:
    """Return the samples' place in an output, by running the call on their numbers.

    What the call adds up is of one sample if the mean of the numbers' squares is their mean's
    square.

    Raises
    ------
    SamplesMixedError
        If an entry comes from several samples.
    LostPlaceError
        If the order of the samples follows no place.
    """
    batch = next(one.place.batch for one in call.inputs if one.place is not None)
    count, total, squares = (_run(call, output, power) for power in (0, 1, 2))
    known = count > 0.5
    mean = torch.where(known, total / count.clamp(min=1), -1.0)
    if bool((squares - count * mean.square())[known].abs().max() > 1e-6 if known.any() else False):
        raise SamplesMixedError
    return place_of(mean.round().long(), batch)


def _run(call: Call, output: Value, power: int) -> Tensor:
    """Return the call's result, flat, for powers of the numbers in place of values, 0 elsewhere."""

    def put(one: Tensor) -> Tensor:
        entries = one.is_floating_point() or one.is_complex()
        return torch.zeros_like(one, dtype=torch.float64) if entries else one

    operator: Any = call.operator
    arguments = operator._schema.arguments
    given = by_name(operator, call.args, call.kwargs)
    if call.short in _ADDS:  # whatever it makes of the entries that come together
        names = [one.name for one in arguments[:4]]
        operator = _ADDS[call.short]
        arguments = operator._schema.arguments
        given = {new.name: given[old] for new, old in zip(arguments, names, strict=False)}
    given = replaced(replaced(given, put, Tensor), lambda one: numbers(one) ** power)
    # What entries are multiplied by changes no place; other numbers are put beside them.
    for one in arguments:
        if one.name in given and str(one.type) == "number":
            given[one.name] = float(one.name == "alpha")
    try:
        result = operator(**given)
    except (RuntimeError, TypeError) as error:
        raise LostPlaceError from error
    if call.several:
        result = result[call.outputs.index(output)]
    found: Tensor = result.real if result.is_complex() else result
    return found.flatten()


def place_of(row: Tensor, batch: int) -> Place:
    """Return the place that a row of samples' numbers follows; -1 fits anywhere."""
    known = (row >= 0).nonzero().flatten()
    if len(known) == 0:
        raise LostPlaceError
    index = torch.arange(len(row), device=row.device)
    others = (row > 0).nonzero().flatten()
    last = int(others[0]) if len(others) else len(row)
    zeros = known[known < last]
    first = int(zeros[-1]) + 1 if len(zeros) else 1
    # Where constants leave several, the one of whole rows: others go on where they came from.
    fitting = range(last, first - 1, -1)
    for inner in sorted(fitting, key=lambda one: len(row) % (one * batch) > 0):
        if bool(((index // inner) % batch == row)[known].all()):
            return Place(batch, inner)
    raise SamplesMixedError

"""What a model is called with: one tensor or several, by position or keyword, cut to rows alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from abslrp.arrays import as_tensor
from abslrp.outputs import Output, select_logits, still, taken
from abslrp.tape import Place, Tape, Value
from abslrp.tape.values import replaced, tensors_in
from abslrp.targets import Target, number_of


@dataclass(frozen=True)
class Batch:
    """Inputs of B samples.

    Attributes
    ----------
    given
        What the model is called with, by position (int) or keyword (str).
    explained
        Which of them relevance is wanted of: the floating-point ones.
    target
        What makes one number of each sample's output, in place of logits.
    whole
        Keywords whose tensors are cut to no rows.
    doubtful
        Those that the model is to be asked of: their tensors have B rows, as a mask (T, T) of all
        samples may.
    """

    given: Mapping[int | str, Any]
    explained: tuple[int | str, ...]
    target: Callable[[Any], Tensor] | None = None
    whole: frozenset[int | str] = frozenset()
    doubtful: frozenset[int | str] = frozenset()

    features = "inputs"
    """How messages call what relevance is wanted of."""

    @classmethod
    def of(cls, model: nn.Module, inputs: Any, model_kwargs: Mapping[str, Any] | None) -> Batch:
        """Take what a user gives, to the model's device and in types that the model takes."""
        listed = enumerate(inputs if isinstance(inputs, tuple) else [inputs])
        items: dict[int | str, Any] = dict(inputs if isinstance(inputs, Mapping) else listed)
        given = {key: as_input(model, one, name_of(key, len(items))) for key, one in items.items()}
        explained = tuple(key for key, one in given.items() if one.is_floating_point())
        if not explained:
            kinds = ", ".join(str(one.dtype) for one in given.values())
            raise ValueError(
                f"inputs: expected floating-point values, got {kinds or 'none'}; images are "
                "normalised first, as in training; for token ids, explain the embeddings (see "
                "abslrp.text)"
            )
        sizes = {key: len(one) for key, one in given.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"inputs: expected the same number of samples in each, got {sizes}")
        if not isinstance(model_kwargs or {}, Mapping):
            raise ValueError(f"model_kwargs: expected a mapping, got {type(model_kwargs).__name__}")
        for key, one in (model_kwargs or {}).items():
            if key in given:
                raise ValueError(f"model_kwargs: {key} is one of the inputs already")
            array = isinstance(one, (Tensor, np.ndarray))
            given[key] = on_model(model, as_tensor(one, f"model_kwargs: {key}")) if array else one
        batch, more = cls(given, explained), frozenset(model_kwargs or ())
        some = {key for key in more if any(map(batch.has_row_each, tensors_in(given[key])))}
        return replace(batch, whole=more - some, doubtful=more & some).as_taken(model)

    def as_taken(self, model: nn.Module) -> Batch:
        """Return one in floating-point types that the model takes, which is asked if need be.

        Nothing is rounded that the model takes as it is, such as a time for a model of 16 bits. All
        else is of the model's first type, or of another that it has.
        """
        # Of 8 bits or fewer are weights only: torchao and the like compute in another type.
        kinds = [one.dtype for one in weights_of(model) if one.dtype.itemsize > 1]
        kinds = list(dict.fromkeys(kinds))
        tensors = [(key, one) for key, one in self.given.items() if isinstance(one, Tensor)]
        own = {key: one.dtype for key, one in tensors if one.is_floating_point()}
        if not kinds or {*own.values()} == {kinds[0]}:
            return self
        wide = {key: torch.promote_types(kind, kinds[0]) for key, kind in own.items()}
        ways = [wide, wide | dict.fromkeys(self.explained, kinds[0])]
        ways += [own] * (len(kinds) > 1) + [dict.fromkeys(own, kind) for kind in kinds]
        distinct = [way for index, way in enumerate(ways) if way not in ways[:index]]
        single = self.rows(slice(0, 1))  # the whole batch is copied once a type is known
        fit = (
            w for w in distinct[:-1] if single.in_types(w).works(lambda part: part.called(model))
        )
        return self.in_types(next(fit, distinct[-1]))

    def in_types(self, types: Mapping[int | str, torch.dtype]) -> Batch:
        """Return one whose tensors of some keys are of other types."""
        typed = {key: self.given[key].to(kind) for key, kind in types.items()}
        return replace(self, given={**self.given, **typed})

    def works(self, call: Callable[[Batch], Any]) -> bool:
        """Whether something can be called with it, or with a copy."""
        try:
            with torch.no_grad():
                call(self.copied())
        except Exception:
            return False
        return True

    def __len__(self) -> int:
        return len(self.tensors[0])

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs that relevance is wanted of."""
        return [self.given[key] for key in self.explained]

    def rows(self, rows: slice | list[int]) -> Batch:
        """Return some samples: rows of every tensor that has one for each sample."""
        if rows == slice(None):
            return self

        def cut(one: Tensor) -> Tensor:
            if not self.has_row_each(one):
                return one
            if isinstance(rows, slice):
                return one[rows]
            return torch.cat([one[i : i + 1] for i in rows])

        target = self.target
        target = target.rows(rows, len(self)) if isinstance(target, Target) else target
        parts = {key: one for key, one in self.given.items() if key not in self.whole}
        return replace(self, given={**self.given, **replaced(parts, cut, Tensor)}, target=target)

    def has_row_each(self, one: Tensor) -> bool:
        """Whether a tensor has as many rows as there are samples."""
        return one.ndim > 0 and len(one) == len(self)

    def with_tensors(self, tensors: Sequence[Tensor]) -> Batch:
        """Put others in place of the tensors that relevance is wanted of."""
        given = {**self.given, **dict(zip(self.explained, tensors, strict=True))}
        return replace(self, given=given)

    def copied(self) -> Batch:
        """Return one that a model may write to."""
        return replace(self, given=replaced(self.given, lambda one: one.detach().clone(), Tensor))

    def called(self, model: Callable[..., Any]) -> Any:
        """Return what the model makes of it."""
        positional = [one for key, one in self.given.items() if isinstance(key, int)]
        named = {key: one for key, one in self.given.items() if isinstance(key, str)}
        return model(*positional, **named)

    def logits(
        self, model: Callable[..., Any], output: Output, samples: int | None, *, dense: bool = False
    ) -> Tensor:
        """Return the logits that the model makes of it, or the target's number as the only one."""
        result, output = self.called(model), still(output, model)
        if self.target is None:
            return select_logits(result, output, samples, dense=dense)
        return number_of(self.target, taken(result, output), samples)

    def leaves(self, tape: Tape, *, whole: bool) -> list[Value]:
        """Return what relevance is wanted of as inputs of a tape.

        ``whole``: of all samples together. The list may be filled while the model runs.
        """
        return [
            tape.input(one, Place(1, one.numel()) if whole else Place.of(one))
            for one in self.tensors
        ]

    def maps(
        self, found: Sequence[Tensor | None], values: Sequence[Value], starts: int
    ) -> list[Tensor]:
        """Return maps (S, B, ...) made of relevance of the values, 0 where none arrived."""
        return [
            value.tensor.new_zeros(starts, *value.shape) if one is None else one.to(value.dtype)
            for one, value in zip(found, values, strict=True)
        ]

    def like(self, maps: Sequence[Tensor], inputs: Any, at: str | Sequence[str] | None) -> Any:
        """Return maps in the structure of the inputs that a user gave; None for integers.

        Those of modules are of the first input's kind, by name.
        """
        if at is not None:
            several = isinstance(inputs, (Mapping, tuple))
            first = inputs[self.explained[0]] if several else inputs
            if isinstance(at, str):
                return like(maps[0], first)
            return dict(zip(dict.fromkeys(at), [like(one, first) for one in maps], strict=True))
        found = dict(zip(self.explained, maps, strict=True))
        if isinstance(inputs, Mapping):
            return {key: like(found[key], inputs[key]) for key in inputs if key in found}
        if isinstance(inputs, tuple):
            return tuple(like(found[i], x) if i in found else None for i, x in enumerate(inputs))
        return like(maps[0], inputs)


def name_of(key: int | str, count: int) -> str:
    """Return how messages call an input."""
    return "inputs" if count == 1 and key == 0 else f"inputs[{key!r}]"


def as_input(model: nn.Module, inputs: Any, name: str = "inputs") -> Tensor:
    """Return an input with a batch axis as the model takes it, see :func:`on_model`."""
    if not isinstance(inputs, (np.ndarray, Tensor)):
        raise ValueError(f"{name}: expected an array or a tensor, got {type(inputs).__name__}")
    x = on_model(model, as_tensor(inputs, name))
    if x.is_complex():
        raise ValueError(f"{name}: expected real values, got {x.dtype}")
    if x.ndim < (2 if x.is_floating_point() and name.startswith("inputs") else 1) or len(x) == 0:
        raise ValueError(
            f"{name}: expected a batch axis and at least one sample, got {tuple(x.shape)}"
        )
    return x


def on_model(model: nn.Module, x: Tensor) -> Tensor:
    """Return a plain tensor on the model's device."""
    x = x if type(x) is Tensor else x.as_subclass(Tensor)  # older torch refuses those within modes
    device = next((one.device for one in weights_of(model)), x.device)
    return x if device.type == "meta" else x.to(device)  # weights that are loaded layer by layer


def weights_of(model: nn.Module) -> Iterator[Tensor]:
    """Yield the floating-point parameters and buffers of a model."""
    return (
        one for one in chain(model.parameters(), model.buffers()) if one.dtype.is_floating_point
    )


def like(maps: Tensor, inputs: Any) -> Any:
    """Return maps as an input was: array or tensor, device, and dtype where it is floating."""
    if isinstance(inputs, Tensor):
        kind = inputs.dtype if inputs.is_floating_point() else maps.dtype
        return maps.detach().to(device=inputs.device, dtype=kind)
    host = maps.detach().cpu()
    small = host.is_floating_point() and host.element_size() < 4
    # NumPy has none of them but this one.
    array = (host.float() if small and host.dtype != torch.float16 else host).numpy()
    dtype = np.dtype(getattr(inputs, "dtype", array.dtype))
    return array.astype(dtype if dtype.kind == "f" else array.dtype, copy=False)

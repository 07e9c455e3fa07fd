"""Which value a tensor object stands for, through views and through writes to shared memory."""

import math
import weakref
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from abslrp.tape.values import Value

aten = torch.ops.aten
_SCATTER = "aten.as_strided_scatter"

Geometry = tuple[tuple[int, ...], tuple[int, ...], int]
Note = Callable[..., Value]
"""Notes a call of the given operator, arguments and result, and returns the result's value."""


def geometry(tensor: Tensor) -> Geometry:
    """Return the size, strides and offset of a tensor in its storage."""
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset())


class Storage:
    """Memory that holds values.

    Attributes
    ----------
    ref
        Keeps the address from being used for other memory, not the memory itself.
    epoch
        How often it was written to while several tensors saw it.
    flat
        All entries in a row, since such a write.
    seen
        The values whose tensors lie in it.
    """

    __slots__ = ("epoch", "flat", "ref", "seen")

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.ref = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self.epoch = 0
        self.flat: Value | None = None
        self.seen: list[tuple[weakref.ref[Value], Geometry]] = []


class Memory:
    """The values of all tensors of one forward pass, by tensor object and by storage."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Tensor], Value | None, int, Any]] = {}
        self._storages: dict[int, Storage] = {}
        self._gone: list[weakref.KeyedRef[int, Tensor]] = []
        self._left: list[Value] = []
        self._put: weakref.WeakKeyDictionary[Value, Tensor] = weakref.WeakKeyDictionary()
        """Where activations are in the rows of memory that were asked for last."""
        self._lent: dict[int, list[tuple[weakref.ref[Tensor], weakref.ref[Tensor]]]] = {}

    def bind(self, tensor: Tensor, value: Value | None) -> None:
        """Let a tensor object stand for a value, or for a constant though its memory has one."""
        storage = None if memory_of(tensor) is None else self._made(tensor)
        key = id(tensor)
        self._leave(key)
        # No Python runs when a tensor goes: an interrupt would be lost in it.
        ref = weakref.KeyedRef(tensor, self._gone.append, key)
        self._entries[key] = (ref, value, 0 if storage is None else storage.epoch, storage)
        if value is not None:
            value.bound += 1
            if storage is not None:
                storage.seen.append((weakref.ref(value), geometry(tensor)))

    def unbind(self, tensor: Tensor) -> None:
        """Let a tensor object stand for what its memory holds."""
        self._leave(id(tensor))

    def stay_constant(self, tensors: Iterable[Tensor]) -> None:
        """Let views of constants be constants where values lie in the same memory."""
        for one in tensors:
            if self._storage(one) is not None:
                self.bind(one, None)

    def let_go(self) -> list[Value]:
        """Return the values that no tensor object stands for any more."""
        while self._gone:
            ref = self._gone.pop()
            entry = self._entries.get(ref.key)
            if entry is not None and entry[0] is ref:
                self._leave(ref.key)
        left, self._left = self._left, []
        return [value for value in left if not value.bound]

    def _leave(self, key: int) -> None:
        _, value, *_ = self._entries.pop(key, (None, None))
        if value is not None:
            value.bound -= 1
            if not value.bound:
                self._left.append(value)

    def find(self, tensor: Tensor, note: Note) -> Value | None:
        """Return the value that a tensor stands for now, None for a constant."""
        entry = self._entries.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            _, value, epoch, storage = entry
            if storage is None or storage.epoch == epoch:
                return value
        else:
            storage = self._storage(tensor)
            if storage is None:
                return None
        return self._read(tensor, storage, note)

    def strided(self, tensor: Tensor, note: Note) -> bool:
        """Let a view by strides, which are the memory's and not the input's, be what it shows."""
        storage = self._storage(tensor)
        if storage is None:
            return False
        return self._read(tensor, storage, note) is not None or self.constant(tensor)

    def constant(self, tensor: Tensor) -> bool:
        """Whether a view shows nothing but constants, though activations were put beside them."""
        storage = self._storage(tensor)
        flat = None if storage is None else storage.flat
        if flat is None or flat.dtype != tensor.dtype or not self._constant_at(flat, tensor):
            return False
        self.bind(tensor, None)
        return True

    def alive(self) -> list[tuple[Tensor, Value]]:
        """Return the tensors that exist and stand for a value."""
        found = [(entry[0](), entry[1]) for entry in list(self._entries.values())]
        return [(one, value) for one, value in found if one is not None and value is not None]

    def alone(self, tensor: Tensor) -> bool:
        """Whether nothing but this object and our own values sees its memory."""
        storage = self._storage(tensor)
        # The memory of a subclass may be another tensor's, which it holds.
        if storage is None or type(tensor) not in (Tensor, torch.nn.Parameter):
            return False
        if tensor.grad_fn is not None or tensor.dtype.is_complex:
            return False
        return _users(tensor, storage) <= 1

    def unseen(self, value: Value) -> bool:
        """Whether nothing but values sees the memory of a value that is held."""
        storage = self._storage(value.tensor)
        return storage is not None and _users(value.tensor, storage) == 0

    def within(self, tensor: Tensor) -> Value | None:
        """Return a value that lies in a tensor's memory, if there is one."""
        storage = self._storage(tensor)
        values = [] if storage is None else [ref() for ref, _ in storage.seen]
        return next((value for value in values if value is not None), None)

    def lend(self, tensor: Tensor) -> Tensor:
        """Return an alias of a constant, which a call keeps as it is now."""
        if tensor.is_cuda and tensor.numel() == 1:
            return tensor  # which is known by then, where kernels are recorded
        alias, memory = tensor.detach(), memory_of(tensor)
        if memory is not None:
            pair = weakref.ref(alias), weakref.ref(tensor)
            self._lent.setdefault(memory._cdata, []).append(pair)
        return alias

    def lenders(self) -> list[Tensor]:
        """Return the constants that exist, and that calls keep an alias of."""
        pairs = [(alias(), own()) for lent in self._lent.values() for alias, own in lent]
        return [own for alias, own in pairs if alias is not None and own is not None]

    def before_write(self, tensor: Tensor) -> None:
        """Give the values, and what is lent, that lie in a tensor's memory memory of their own."""
        memory, storage = memory_of(tensor), self._storage(tensor)
        for lent, _ in [] if memory is None else self._lent.pop(memory._cdata, []):
            if (alias := lent()) is not None:
                alias.data = alias.clone()
        if storage is None:
            return
        flat = self._flat(tensor)
        saved: Tensor | None = None
        for ref, (size, stride, offset) in storage.seen:
            value = ref()
            if value is None or not _within(value.tensor, tensor):
                continue
            if value.dtype != tensor.dtype:
                value.tensor = value.tensor.clone()
                continue
            if saved is None:
                saved = flat.clone()
            value.tensor = saved.as_strided(size, stride, offset)

    def after_write(self, tensor: Tensor, value: Any, note: Note) -> None:
        """Let a tensor stand for another value, which every view of its memory sees a part of."""
        storage = self._made(tensor)
        flat, row = self._flat(tensor), None
        if isinstance(value, Value):
            row = self._row(value, geometry(tensor), flat, note)
        if row is None:
            whole = self._whole(tensor, storage, note)
            if not isinstance(whole, Value) and value is None:
                return  # constants among constants
            source = tensor.detach().clone() if value is None else value
            where = geometry(tensor)
            row = note(aten.as_strided_scatter.default, (whole, source, *where), flat)
        storage.flat = row
        storage.epoch += 1
        if isinstance(value, Value):
            self.bind(tensor, value)

    def pass_on(self, tensor: Tensor, note: Note) -> None:
        """Let relevance pass what a detached alias was used to write, as gradients do."""
        storage = self._made(tensor)
        whole = self._whole(tensor, storage, note)
        if isinstance(whole, Value):
            storage.flat = note(aten.set_data.default, (whole,), self._flat(tensor))
            storage.epoch += 1
            self.bind(tensor, None)

    def _storage(self, tensor: Tensor) -> Storage | None:
        untyped = memory_of(tensor)
        return None if untyped is None else self._storages.get(untyped._cdata)

    def _made(self, tensor: Tensor) -> Storage:
        """Return what is known of a tensor's memory, from now on if not before."""
        untyped = tensor.untyped_storage()
        if untyped._cdata not in self._storages:
            self._storages[untyped._cdata] = Storage(untyped)
        return self._storages[untyped._cdata]

    @staticmethod
    def _flat(tensor: Tensor) -> Tensor:
        """Return the whole memory of a tensor as one row."""
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor.detach().as_strided((count,), (1,), 0)

    def _whole(self, tensor: Tensor, storage: Storage, note: Note) -> Any:
        """Return the value of the whole memory as one row, as it was before a write."""
        if storage.flat is not None:
            return storage.flat
        flat = self._flat(tensor)
        whole: Any = flat.clone()
        alive = [(value, where) for ref, where in storage.seen if (value := ref()) is not None]
        for value, where in alive:
            if value.shape == where[0] and value.dtype == tensor.dtype:
                row = self._row(value, where, whole, note)
                if row is not None:
                    return row
        if alive and not any(value.dtype == tensor.dtype for value, _ in alive):
            _check_kind(tensor, alive[0][0])
        for value, where in alive:
            if value.dtype == tensor.dtype:
                whole = note(aten.as_strided_scatter.default, (whole, value, *where), flat)
        return whole

    @staticmethod
    def _row(value: Value, where: Geometry, flat: Tensor, note: Note) -> Value | None:
        """Return a value as a row in the order of memory, if it is all that the memory holds."""
        size, stride, offset = where
        if offset != 0 or math.prod(size) != flat.numel():
            return None
        order = sorted(range(len(size)), key=lambda axis: -stride[axis])
        moved = flat.as_strided(size, stride, 0).permute(order)
        if not moved.is_contiguous():
            return None
        if order != list(range(len(size))):
            value = note(aten.permute.default, (value, order), moved)
        return note(aten.view.default, (value, [-1]), flat)

    def _read(self, tensor: Tensor, storage: Storage, note: Note) -> Value | None:
        if storage.flat is None:
            if all(ref() is None for ref, _ in storage.seen):
                return None
            storage.flat = self._whole(tensor, storage, note)
        if not isinstance(storage.flat, Value):
            return None
        if tensor.dtype != storage.flat.dtype:
            _check_kind(tensor, storage.flat)
            return None
        value = None
        if not self._constant_at(storage.flat, tensor):
            where = storage.flat, *geometry(tensor)
            value = note(aten.as_strided.default, where, tensor.detach())
        self.bind(tensor, value)
        return value

    def _constant_at(self, flat: Value, tensor: Tensor) -> bool:
        """Whether nothing but constants was put into the part of a row that a view shows."""
        put, row = [], cast(Any, flat)
        while row not in self._put and (by := getattr(row, "maker", None)) and by.name == _SCATTER:
            row, *rest = by.args
            put.append(rest)
        holds = self._put.pop(row, torch.full(flat.shape, isinstance(row, Value), device="cpu"))
        for source, *given in reversed(put):
            holds.as_strided(*given).fill_(isinstance(source, Value))
        self._put[flat] = holds
        return not holds.as_strided(*geometry(tensor)).any()


def memory_of(tensor: Tensor) -> torch.UntypedStorage | None:
    """Return a tensor's memory; nested, sparse and uninitialised ones, and wrappers, have none."""
    if tensor.is_nested:
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError, ValueError):
        return None


def _check_kind(tensor: Tensor, value: Value) -> None:
    """Refuse what was written as complex numbers and is read as real ones, or the reverse."""
    if tensor.is_complex() != value.dtype.is_complex:
        raise ValueError(
            "model: it writes to memory that it sees as real and as complex numbers; expected a "
            "call that makes a new tensor (z = z * w in place of z *= w)"
        )


def _users(tensor: Tensor, storage: Storage) -> int:
    """Return how many tensors that no value holds see a tensor's memory."""
    alive = (value for ref, _ in storage.seen if (value := ref()) is not None)
    held = {id(value.tensor) for value in alive if _within(value.tensor, tensor)}
    untyped = tensor.untyped_storage()
    count: int = torch._C._storage_Use_Count(untyped._cdata)
    return count - len(held) - 1  # `untyped`


def _within(kept: Tensor, tensor: Tensor) -> bool:
    return bool(kept.untyped_storage()._cdata == tensor.untyped_storage()._cdata)

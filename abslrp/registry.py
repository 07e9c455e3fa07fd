"""Rule sets: tables from a torch function to the rule that propagates relevance through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

Backward: TypeAlias = "Callable[[Tensor], tuple[Tensor | None, ...]]"
"""From the relevance of an operation's output to that of each of its active inputs."""

Rule: TypeAlias = "Callable[..., Any]"
"""``rule(operation, *args, **kwargs)``, called with the intercepted call's own arguments."""

Function: TypeAlias = "Callable[..., Any]"
R = TypeVar("R")


def spellings(*names: str, inplace: bool = True) -> list[Function]:
    """Every function object through which torch spells an operation.

    ``x + y``, ``x.add(y)``, ``torch.add(x, y)`` and ``x += y`` reach an interceptor as different
    objects. Spellings that this version of torch does not have are left out.

    Parameters
    ----------
    *names
        Base names, such as ``"add"``.
    inplace
        Whether ``add_`` and ``__iadd__`` are wanted too.

    Returns
    -------
    list of callables, without repetitions.

    Examples
    --------
    >>> import torch
    >>> torch.Tensor.add_ in spellings("add")
    True
    """
    found: dict[int, Function] = {}
    for name in names:
        methods = [name, f"__{name}__"]
        if inplace:
            methods += [f"{name}_", f"__i{name}__"]
        for owner in (torch, torch.Tensor, torch.nn.functional, torch.special):
            for spelling in methods if owner is torch.Tensor else [name, f"{name}_"]:
                function = getattr(owner, spelling, None)
                if callable(function) and (inplace or not is_inplace(function)):
                    found.setdefault(id(function), function)
    return list(found.values())


def is_inplace(function: Function) -> bool:
    """Whether a torch function overwrites its first argument, by torch's naming convention."""
    name = getattr(function, "__name__", "")
    if name.startswith("__"):
        return name == "__setitem__" or (
            name.startswith("__i") and name not in ("__invert__", "__int__", "__index__")
        )
    return name.endswith("_") and name != "requires_grad_"


def name_of(function: Function) -> str:
    """Return a name of a torch function that a user can look up."""
    name = getattr(function, "__name__", None) or repr(function)
    owner = getattr(function, "__objclass__", None)
    if owner is not None:
        return f"torch.Tensor.{name}"
    if isinstance(function, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
        return f"torch.ops.{function}"  # its own module, torch._ops.aten, has no attributes
    module = getattr(function, "__module__", None)
    for public in (torch.linalg, torch.special, torch.fft, torch.sparse):
        prefix = public.__name__.rpartition(".")[2] + "_"  # torch._C._linalg.linalg_norm
        bare = name.lstrip("_").removeprefix(prefix)
        if getattr(public, bare, None) is function:
            return f"{public.__name__}.{bare}"
    if module in (None, "torch._C._nn", "torch._C", "torch.functional"):
        found = getattr(torch.nn.functional, name, None) is function
        module = "torch.nn.functional" if found else "torch"
    return f"{module}.{name}"


class RuleSet:
    """A table from torch functions to rules; what it lacks is looked up in its base.

    Parameters
    ----------
    name
        Name under which :func:`abslrp.explain` finds the set.
    base
        Rule set that holds the rules not given here.
    conserves
        Whether the set's relevance is renormalised as the ``conserve`` option says. Rules that
        conserve relevance by themselves, or define their own leaks, say no.

    Examples
    --------
    >>> import torch
    >>> from abslrp.registry import RuleSet
    >>> mine = RuleSet("mine")
    >>> @mine.rule(torch.sin)
    ... def sine(operation, input):
    ...     return lambda relevance: (relevance,)
    >>> torch.sin in mine, torch.cos in mine
    (True, False)
    """

    def __init__(self, name: str, base: RuleSet | None = None, *, conserves: bool = True) -> None:
        self.name = name
        self.base = base
        self.conserves = conserves
        self._rules: dict[Function, Any] = {}

    def rule(self, *functions: Function | Iterable[Function]) -> Callable[[R], R]:
        """Register the decorated rule for one or more torch functions.

        Parameters
        ----------
        *functions
            Torch functions, or lists of them (see :func:`spellings`).

        Returns
        -------
        callable
            The decorator, which returns the rule as it is.

        Raises
        ------
        ValueError
            If this set already has a rule for one of them, or no function is given. Rules of its
            base may be given anew.

        Examples
        --------
        >>> import torch
        >>> from abslrp.registry import ABSLRP, RuleSet
        >>> mine = RuleSet("mine", ABSLRP)
        >>> @mine.rule(torch.relu, torch.nn.functional.relu)
        ... def relu(operation, input):
        ...     return lambda relevance: (relevance * (input > 0),)
        >>> mine.find(torch.relu) is relu, ABSLRP.find(torch.relu) is relu
        (True, False)
        """
        flat = _flat(functions)
        if not flat:
            raise ValueError("functions: expected at least one torch function, got none")

        def register(rule: R) -> R:
            for function in flat:
                if function in self._rules:
                    raise ValueError(
                        f"functions: the rule set {self.name!r} already has a rule for "
                        f"{name_of(function)} ({self._rules[function]}); "
                        "remove it first with `remove`"
                    )
            for function in flat:
                self._rules[function] = rule
            return rule

        return register

    def remove(self, function: Function) -> None:
        """Forget this set's own rule for a function; that of its base counts again.

        Parameters
        ----------
        function
            The torch function.

        Raises
        ------
        KeyError
            If this set has no rule of its own for it.

        Examples
        --------
        >>> import torch
        >>> from abslrp.registry import RuleSet
        >>> mine = RuleSet("mine")
        >>> _ = mine.rule(torch.sin)(lambda operation, input: None)
        >>> mine.remove(torch.sin)
        >>> torch.sin in mine
        False
        """
        del self._rules[function]

    def find(self, function: Function) -> Rule | None:
        """Return the rule for a function, from this set or its bases.

        Parameters
        ----------
        function
            The torch function.

        Returns
        -------
        callable, marker or None
            The rule, or the marker that stands for one (:mod:`abslrp.markers`); None if there is
            none.

        Examples
        --------
        >>> import torch
        >>> from abslrp.registry import ABSLRP
        >>> ABSLRP.find(torch.matmul).__name__
        'matmul'
        >>> ABSLRP.find(torch.linalg.svd) is None
        True
        """
        table: RuleSet | None = self
        while table is not None:
            rule: Rule | None = table._rules.get(function)
            if rule is not None:
                return rule
            table = table.base
        return None

    def __contains__(self, function: object) -> bool:
        return callable(function) and self.find(function) is not None

    def __iter__(self) -> Iterator[Function]:
        seen: set[int] = set()
        table: RuleSet | None = self
        while table is not None:
            for function in table._rules:
                if id(function) not in seen:
                    seen.add(id(function))
                    yield function
            table = table.base

    def __repr__(self) -> str:
        return f"RuleSet({self.name!r}, {len(list(self))} functions)"


COMMON = RuleSet("common")
"""What every rule set shares: structure, activation functions, decompositions, pooling."""

ABSLRP = RuleSet("absLRP", COMMON)
"""Relative absolute magnitude LRP (eq. 12), the default."""

RULE_SETS: dict[str, RuleSet] = {"absLRP": ABSLRP}
"""Rule sets by the name that :func:`abslrp.explain` takes."""


def rule(*functions: Function | Iterable[Function], rules: str | None = None) -> Callable[[R], R]:
    """Register a relevance propagation rule for torch functions.

    The decorated function is called in place of the torch function, as
    ``rule(operation, *args, **kwargs)`` with the call's own arguments, and returns a function
    from the relevance of the output to a tuple with the relevance of each active input
    (:attr:`abslrp.operation.Operation.active`), in the order of the arguments. The relevance it
    returns needs no normalisation: the ``conserve`` option does that.

    Parameters
    ----------
    *functions
        Torch functions, such as ``torch.nn.functional.linear``, ``torch.Tensor.add_`` or the
        function of a custom library, or lists of them (see :func:`spellings`).
    rules
        Name of the rule set the rule is for; by default it serves every set that has none of
        its own.

    Raises
    ------
    ValueError
        If the set, or without ``rules`` any set, has a rule for one of the functions already, or
        there is no such set.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.registry import COMMON
    >>> @abslrp.rule(torch.sinc)
    ... def sinc(operation, input):
    ...     return lambda relevance: (relevance,)
    >>> COMMON.remove(torch.sinc)  # so that this example leaves nothing behind
    """
    if rules is not None:
        return rule_set(rules).rule(*functions)
    given = _flat(functions)
    for table in RULE_SETS.values():
        for function in given:
            if function in table:
                raise ValueError(
                    f"functions: the rule set {table.name!r} already has a rule for "
                    f"{name_of(function)} ({table.find(function)}), which would go before this "
                    f"one; name a set with rules=, and remove its rule first with `remove`"
                )
    return COMMON.rule(*given)


def _flat(functions: Iterable[Function | Iterable[Function]]) -> list[Function]:
    return [one for item in functions for one in ([item] if callable(item) else list(item))]


def rule_set(name: str) -> RuleSet:
    """Return the rule set of a name.

    Parameters
    ----------
    name
        One of :data:`RULE_SETS`, such as ``"absLRP"`` or ``"epsilon"``.

    Returns
    -------
    RuleSet
        The rule set itself: what is registered in it counts for all that use it.

    Raises
    ------
    ValueError
        If there is none; the message names those there are.

    Examples
    --------
    >>> import abslrp
    >>> from abslrp.registry import rule_set
    >>> rule_set("absLRP").name
    'absLRP'
    """
    if name not in RULE_SETS:
        raise ValueError(f"rules: expected one of {', '.join(RULE_SETS)}, got {name!r}")
    return RULE_SETS[name]

"""Rule sets: which rule a call of an ATen operator, or of a Python function, has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch._ops import OpOverload, OpOverloadPacket

from abslrp.names import Function, is_told_of, name_of, operator_of
from abslrp.plan.accounts import Account, Custom, Routing, UncoveredError, by_one_start
from abslrp.plan.blocks import blocks, whole
from abslrp.tape import Call, Value, WrittenOut
from abslrp.tape.values import alike

R = TypeVar("R", bound=Function)

__all__ = ["ABSLRP", "COMMON", "RULE_SETS", "Rule", "RuleSet", "name_of", "rule", "rule_set"]


@dataclass(frozen=True)
class Rule:
    """A rule as it was registered.

    Attributes
    ----------
    function
        ``function(call, *args, **kwargs)`` returns the account of a call; or, if it
        ``decomposes``, ``function(*args, **kwargs)`` takes the operator's place.
    decomposes
        Whether it writes the operator out by others.
    stages
        Of such: returns the :data:`abslrp.plan.blocks.Stages` of a call.
    """

    function: Function
    decomposes: bool = False
    stages: Any = None

    def __call__(self, call: Call) -> Account:
        """Return the account of a call."""
        complex = any(one.dtype.is_complex for one in (*call.inputs, *call.outputs) if one)
        if complex and call.short in COMPLEX:
            raise WrittenOut(COMPLEX[call.short])
        if any(one.tensor.layout != torch.strided for one in call.inputs):
            raise UncoveredError("activations of a sparse or other layout")
        account: Any = self.function(call, *call.args, **call.kwargs)
        if callable(account):
            account = Custom(by_one_start(account, call), axes=alike)
        if not isinstance(account, Account):
            raise ValueError(
                f"rule: expected that of {name_of(call.operator)} to return an account, or a "
                f"function of relevance, got {account!r}"
            )
        if complex and not account.constant and not isinstance(account, (Routing, Custom)):
            raise UncoveredError("a function of complex numbers, of which no rule says its parts")
        return account

    def blocks(self, table: RuleSet, values: Sequence[Value], args: Any, kwargs: Any) -> Any:
        """Return the account of a call by its stages, None if they make little."""
        return blocks(table, values, *self.stages(*args, **kwargs))


class RuleSet:
    """A table from operators to rules; what it lacks is looked up in its base.

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
    >>> from abslrp.plan import passing
    >>> mine = RuleSet("mine")
    >>> @mine.rule(torch.sin)
    ... def sine(call, input):
    ...     return passing(input)
    >>> torch.sin in mine, torch.cos in mine
    (True, False)
    """

    uncovered = UncoveredError

    def __init__(self, name: str, base: RuleSet | None = None, *, conserves: bool = True) -> None:
        self.name = name
        self.base = base
        self.conserves = conserves
        self.lineage: list[RuleSet] = [self, *([] if base is None else base.lineage)]
        """The set, its base, the base's base and so on."""
        self._rules: dict[Any, Rule] = {}

    def rule(self, *functions: Function | str | Iterable[Function]) -> Callable[[R], R]:
        """Register the decorated rule for one or more operators.

        Parameters
        ----------
        *functions
            ATen operators or their packets (``torch.ops.aten.relu``), names of packets in a
            string (``"relu gelu"``; ``"torchvision::nms"`` of a library that need not be imported),
            torch functions and methods (``torch.relu``), which stand for their operator, or Python
            functions that ask torch whether they are overridden
            (``torch.overrides.wrap_torch_function``).

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
        >>> from abslrp.plan import passing
        >>> mine = RuleSet("mine", ABSLRP)
        >>> relu = mine.rule(torch.ops.aten.relu)(lambda call, input: passing(input))
        >>> mine.find(torch.relu).function is relu, ABSLRP.find(torch.relu).function is relu
        (True, False)
        """
        return self._register(functions)

    def decomposition(self, *functions: Function | str | Iterable[Function]) -> Callable[[R], R]:
        """Register a function that writes an operator out by others, which have rules.

        Parameters
        ----------
        *functions
            As in :meth:`rule`.

        Returns
        -------
        callable
            The decorator, which returns the function as it is. The function takes the operator's
            arguments, as tensors, and returns what the operator does.

        Raises
        ------
        ValueError
            As in :meth:`rule`.

        Examples
        --------
        >>> mine = RuleSet("mine")
        >>> _ = mine.decomposition(torch.ops.aten.sinc)(lambda input: torch.sin(input) / input)
        >>> mine.find(torch.sinc).decomposes
        True
        """
        return self._register(functions, decomposes=True)

    def staged(self, function: Function) -> Callable[[R], R]:
        """Register a function that returns stages by which others stand for an operator.

        What they make is then kept for some rows at a time.
        """

        def register(stages: R) -> R:
            def written_out(*args: Any, **kwargs: Any) -> Any:
                return whole(*stages(*args, **kwargs))

            self._register([function], decomposes=True, stages=stages)(written_out)
            return stages

        return register

    def _register(self, functions: Any, **form: Any) -> Callable[[R], R]:
        flat = _flat(functions)
        if not flat:
            raise ValueError(f"functions: expected at least one torch function, got {functions!r}")
        if unseen := [one for one in flat if not (isinstance(one, str) or is_told_of(one))]:
            raise ValueError(
                f"functions: torch does not tell of calls of {unseen[0]!r}; give operators that it "
                "calls (abslrp.plan lists them), or wrap it by torch.overrides.wrap_torch_function"
            )

        def register(function: R) -> R:
            for one in flat:
                if operator_of(one) in self._rules:
                    raise ValueError(
                        f"functions: the rule set {self.name!r} already has a rule for "
                        f"{name_of(one)} ({self._rules[operator_of(one)].function}); "
                        "remove it first with `remove`"
                    )
            for one in flat:
                self._rules[operator_of(one)] = Rule(function, **form)
            return function

        return register

    def remove(self, function: Function) -> None:
        """Forget this set's own rule for an operator; that of its base counts again.

        Parameters
        ----------
        function
            An operator, packet or function, as in :meth:`rule`.

        Raises
        ------
        KeyError
            If this set has no rule of its own for it.

        Examples
        --------
        >>> mine = RuleSet("mine")
        >>> _ = mine.rule(torch.sin)(lambda call, input: None)
        >>> mine.remove(torch.sin)
        >>> torch.sin in mine
        False
        """
        del self._rules[operator_of(function)]

    def find(self, function: Function) -> Rule | None:
        """Return the rule for an operator or function, from this set or its bases.

        Parameters
        ----------
        function
            As in :meth:`remove`.

        Returns
        -------
        Rule or None
            None if there is no rule.

        Examples
        --------
        >>> ABSLRP.find(torch.matmul).function.__name__
        'matmul'
        >>> ABSLRP.find(torch.linalg.svd) is None
        True
        """
        operator = operator_of(function)
        # What is said of one overload goes before what is said of all.
        own = isinstance(operator, OpOverload)
        packet = [operator.overloadpacket, operator._schema.name] if own else []
        for name in [operator, *packet]:
            for table in self.lineage:
                if name in table._rules:
                    return table._rules[name]
        return None

    def account(self, call: Call) -> Account:
        """Return what this set's rule for its operator says of a call.

        Parameters
        ----------
        call
            A recorded call.

        Returns
        -------
        Account
            How relevance of its outputs becomes relevance of its inputs.

        Raises
        ------
        UncoveredError
            If there is none.
        """
        rule = self.find(call.operator)
        if rule is None:
            raise UncoveredError(f"{self.name!r} has no rule for it")
        return rule(call)

    def functions(self) -> dict[Function, Rule]:
        """Return the rules of Python functions, which are no operators."""
        operators = (OpOverload, OpOverloadPacket, str)
        every = (item for table in reversed(self.lineage) for item in table._rules.items())
        return {one: rule for one, rule in every if not isinstance(one, operators)}

    def __contains__(self, function: object) -> bool:
        return callable(function) and self.find(function) is not None

    def __iter__(self) -> Iterator[Function]:
        return iter(dict.fromkeys(one for table in self.lineage for one in table._rules))

    def __repr__(self) -> str:
        return f"RuleSet({self.name!r}, {len(list(self))} operators)"


COMPLEX: dict[str, Function] = {}
"""What writes a call that takes or makes complex numbers out by their parts, by its short name."""

COMMON = RuleSet("common")
"""What every rule set shares: structure, activation functions, decompositions, pooling."""

ABSLRP = RuleSet("absLRP", COMMON)
"""Relative absolute magnitude LRP (eq. 12), the default."""

RULE_SETS: dict[str, RuleSet] = {"absLRP": ABSLRP}
"""Rule sets by the name that :func:`abslrp.explain` takes."""


def rule(*functions: Function | str | Iterable[Function], rules: str | None = None) -> Any:
    """Register a relevance propagation rule for operators or functions.

    The decorated function is called once for each call of the operator in a forward pass, as
    ``rule(call, *args, **kwargs)`` with the call's own arguments, in which an
    :class:`abslrp.tape.Value` stands for each tensor that depends on the input. It returns what
    becomes of relevance: a :class:`~abslrp.plan.Diagonal`, :class:`~abslrp.plan.Product`,
    :class:`~abslrp.plan.Routing` or :class:`~abslrp.plan.Split`; or a function from the relevance
    of the output to a tuple with that of each value among the arguments, in their order. What it
    returns needs no normalisation: the ``conserve`` option does that.

    Parameters
    ----------
    *functions
        As in :meth:`RuleSet.rule`: an ATen operator, a packet, or a torch function.
    rules
        Name of the rule set the rule is for; by default it serves every set that has none of
        its own.

    Returns
    -------
    callable
        The decorator, which returns the rule as it is.

    Raises
    ------
    ValueError
        If the set (any, without ``rules``) has a rule for one of them, or there is no such set.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.plan import passing
    >>> sinc = abslrp.rule(torch.sinc)(lambda call, input: passing(input))
    >>> COMMON.remove(torch.sinc)
    >>> @abslrp.rule(torch.sinc)
    ... def by_a_function(call, input):
    ...     return lambda relevance: (relevance * (input.tensor > 0),)
    >>> COMMON.remove(torch.sinc)  # so that these examples leave nothing behind
    """
    if rules is not None:
        return rule_set(rules).rule(*functions)
    given = _flat(functions)
    for table in RULE_SETS.values():
        for function in given:
            found = table.find(function)
            if found is not None:
                raise ValueError(
                    f"functions: the rule set {table.name!r} already has a rule for "
                    f"{name_of(function)} ({found.function}), which would go before this "
                    f"one; name a set with rules=, and remove its rule first with `remove`"
                )
    return COMMON.rule(*given)


def _flat(functions: Any) -> list[Function]:
    flat: list[Function] = []
    for one in functions:
        if isinstance(one, str):
            for name in one.split():
                packet: Any = name if "::" in name else getattr(torch.ops.aten, name, None)
                if packet is not None:  # older torch lacks some
                    flat.append(packet)
        elif callable(one):
            flat.append(one)
        else:
            flat += _flat(one)
    return flat


def rule_set(name: str) -> RuleSet:
    """Return the rule set of a name: itself, so that what is registered in it counts for all.

    Parameters
    ----------
    name
        Such as ``"absLRP"`` or ``"epsilon"``.

    Returns
    -------
    RuleSet
        The set of that name.

    Raises
    ------
    ValueError
        If there is none of :data:`RULE_SETS`; the message names those there are.

    Examples
    --------
    >>> rule_set("absLRP").name
    'absLRP'
    """
    if name not in RULE_SETS:
        raise ValueError(f"rules: expected one of {', '.join(RULE_SETS)}, got {name!r}")
    return RULE_SETS[name]

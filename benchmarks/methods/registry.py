"""The registry of attribution methods: what each is, where it comes from, what it can explain."""

import difflib
import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from gae_metric.errors import InputError, lookup, nearest
from gae_metric.explainers.chunked_gradients import chunked
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.explainers.gradients import ExplainFunc

Family: TypeAlias = Literal["cnn", "vit", "any"]
Explain: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From a chunk of inputs and their targets to maps."""

#: Samples at a time where the caller does not say.
BATCH = 16

#: What has to be installed for a source.
_PACKAGES = {"Captum": "captum", "pytorch-grad-cam": "pytorch_grad_cam", "LXT": "lxt"}


class InapplicableError(NotApplicableError):
    """A model has not what a method needs; ``reason`` says what is missing."""

    def __init__(self, reason: str) -> None:
        ValueError.__init__(self, reason)
        self.reason = reason


@dataclass(frozen=True)
class Method:
    """One row of the registry; called, it is an explanation function.

    Attributes
    ----------
    name
        As tables and ``--methods`` write it.
    family
        Models it can explain: ``"cnn"``, ``"vit"`` or ``"any"``.
    source
        Library whose code computes the maps.
    citation
        The method's paper, and where its defaults come from.
    function
        ``f(model, inputs, targets, *, batch_size=None, **kwargs)``.
    paper
        Families of models in whose tables the paper lists it; empty where it does not.
    paper_name
        How the paper's tables write it.
    """

    name: str
    family: Family
    source: str
    citation: str
    function: ExplainFunc
    paper: tuple[str, ...] = ()
    paper_name: str = ""

    accepts_tensors = True

    @property
    def installed(self) -> bool:
        """Whether the library that it comes from is installed."""
        package = _PACKAGES.get(self.source)
        return package is None or importlib.util.find_spec(package) is not None

    @property
    def defaults(self) -> dict[str, Any]:
        """The method's options and their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        given = (one for one in parameters if one.default is not one.empty)
        return {one.name: one.default for one in given if one.name != "batch_size"}

    def __call__(self, model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        """Return one map per input, as every explanation function does."""
        if not self.installed:
            raise InapplicableError(
                f"{self.source} is not installed: pip install 'gae-metric[benchmarks]'"
            )
        # A near miss alone: Quantus's callers pass keywords of other explainers.
        known = set(self.defaults) | {"batch_size"}
        for name in sorted(set(kwargs) - known):
            if close := difflib.get_close_matches(name, known, 1, 0.8):
                raise InputError(f"{self.name}: no option {name!r}; did you mean {close[0]!r}?")
        return self.function(model, inputs, targets, **kwargs)

    def bind(self, **options: Any) -> ExplainFunc:
        """Return the explanation function with options of its own.

        Raises
        ------
        InputError
            If the method has no such option (the message gives the nearest).
        """
        known = set(self.defaults) | {"batch_size"}
        for name in sorted(set(options) - known):
            raise InputError(f"{self.name}: no option {name!r}; {nearest(name, sorted(known))}")
        return functools.partial(self, **options)


METHODS: dict[str, Method] = {}
"""Every method by its name; once the package is imported, in the order of the paper's tables."""


def method(
    name: str,
    citation: str,
    family: Family,
    *,
    source: str,
    paper: tuple[str, ...] = (),
    paper_name: str | None = None,
    chunks: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated explanation function.

    Parameters
    ----------
    name, citation, family, source, paper
        See :class:`Method`.
    paper_name
        By default the name.
    chunks
        Whether it is a function for :func:`by_chunks`.

    Raises
    ------
    ValueError
        If there is a method of that name already, whatever the case of its letters.

    Examples
    --------
    >>> from benchmarks.methods import method
    >>> method("absLRP", family="any", source="", citation="")(lambda model, x, y: x)
    Traceback (most recent call last):
        ...
    ValueError: name: there is a method 'absLRP' already
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        for known in METHODS:
            if known.lower() == name.lower():
                raise ValueError(f"name: there is a method {known!r} already")
        function = by_chunks(function) if chunks else function
        METHODS[name] = Method(name, family, source, citation, function, paper, paper_name or name)
        function.accepts_tensors = True  # type: ignore[attr-defined]
        return function

    return register


def find(name: str) -> Method:
    """Look up a method by its name or the paper's, in any case of letters.

    Raises
    ------
    UnknownNameError
        If there is none; the message gives the nearest name.

    Examples
    --------
    >>> from benchmarks.methods import find
    >>> find("input*gradient").name
    'InputXGradient'
    """
    for one in METHODS.values():
        if name.strip().lower() == one.paper_name.lower():
            return one
    return lookup("methods", name, METHODS)[1]


def by_chunks(prepare: Callable[..., Explain]) -> Callable[..., Any]:
    """Make an explanation function that checks its arguments and explains chunk by chunk.

    Parameters
    ----------
    prepare
        ``prepare(model, x, *, batch_size=None, **options)``, called once with the first sample
        (1, C, H, W); returns what explains chunks of ``batch_size`` samples, by default 16.
    """
    parameters = inspect.signature(prepare).parameters.values()
    taken = {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}

    @functools.wraps(prepare)
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        kwargs["batch_size"] = batch_size
        options = {name: value for name, value in kwargs.items() if name in taken}
        prepared: list[Explain] = []

        def each(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
            x = x.detach().clone()
            if not prepared:
                prepared.append(prepare(model, x[:1], **options))
            return prepared[0](x, target).detach()

        return chunked(each, model, inputs, targets, BATCH if batch_size is None else batch_size)

    return explain

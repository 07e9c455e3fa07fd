"""absLRP as a function from a model, inputs and targets to attribution maps."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Literal, TypeVar, cast

from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.ablations import Attention, RelevanceAt
from abslrp.arguments import as_start, check_model, check_reduce, names_of
from abslrp.batch import Batch
from abslrp.classes import maps_of, with_target
from abslrp.contrast import OWN, Start
from abslrp.forward import Settings
from abslrp.losses import noted, warn_of_losses
from abslrp.outputs import Output
from abslrp.plan.arrivals import Conserve
from abslrp.propagate import propagate
from abslrp.registry import RuleSet

Array = TypeVar("Array", Tensor, "NDArray[Any]", "tuple[Any, ...]", "Mapping[str, Any]")


def explain(
    model: nn.Module,
    inputs: Array,
    targets: Any = None,
    *,
    target: Callable[[Any], Tensor] | None = None,
    against: Any = None,
    conserve: Conserve = "operation",
    contrast: Start | Literal["own"] = OWN,
    rules: str | RuleSet = "absLRP",
    reduce: Literal["channels"] | None = None,
    relevance_at: RelevanceAt = "input",
    attention: Attention = None,
    batch_size: int | None = None,
    on_unknown: Literal["error", "warn"] = "error",
    output: Output = None,
    samples: Literal["rows", "whole"] = "rows",
    model_kwargs: Mapping[str, Any] | None = None,
    at: str | Sequence[str] | None = None,
    accelerate: bool = True,
    **kwargs: Any,
) -> Array:
    """Relative Absolute Magnitude LRP: one attribution map per input.

    It has the signature of a Quantus ``explain_func``.

    Parameters
    ----------
    model
        Any PyTorch model in evaluation mode that maps (B, ...) inputs to (B, N) logits.
    inputs
        (B, ...) floating-point array or tensor; or several, as a tuple (by position) or a mapping
        (by keyword), of which some may be integers.
    targets
        Class of each sample: (B,) integers, or one integer for all; or (B, K) integers for K
        maps of each sample, which share one forward pass. ``"predicted"``: the class of the
        highest logit.
    target
        Instead of classes: a function from the output, of any shape, to one number for each sample
        (see :mod:`abslrp.targets`). There is no contrast then.
    against
        Class of each sample, (B,) integers or one integer for all. The target is contrasted with
        this class and not with all others. If both start in one pass, this class starts from -1.
    conserve
        ``"operation"`` (default): an operation hands on as much relevance as it received, per
        sample. ``"argument"``: each operand's relevance is scaled to absolute sum 1. None:
        equation 12 alone.
    contrast
        ``"streams"``: two passes, from one-hot(target) and from (1 - one-hot) / (N - 1). Each map
        is scaled to sum 1, and the second is subtracted from the first. ``"signed"``: one pass from
        1 at the target and -1 / N elsewhere. ``"logits"``: as ``"streams"``, from the absolute
        logits. None: the target alone. The default depends on the rule set: ``"streams"`` for
        absLRP, ``"logits"`` for cLRP and cRAP, None for the others.
    rules
        Rule set, or its name: ``"absLRP"``, ``"epsilon"``, ``"alpha1beta0"``, ``"alpha2beta1"``,
        ``"cLRP"``, ``"RAP"``, ``"cRAP"``, ``"RAP-eq5"``, ``"Chefer"``, ``"EpsilonPlusFlat"`` or
        ``"EpsilonGammaBox"`` (see :mod:`abslrp.rule_sets`).
    reduce
        ``"channels"``: maps are summed over axis 1, to (B, 1, H, W) for images and (B, 1, L) for
        time series. None: maps have the shape of the inputs.
    relevance_at
        ``"patches"``: relevance stops at the patch embedding, and each patch's relevance is spread
        evenly over the patch (table 10 of the paper). The model must begin with a convolution of
        patches that do not overlap. ``"input"`` (default): relevance goes on to the input.
    attention
        ``"values"``: no relevance goes through queries and keys. ``"queries_keys"``: none goes
        through values (table 10). None (default): relevance goes through all three. Every matrix
        product of a softmax's output and an activation counts as attention.
    batch_size
        Samples explained at a time. It bounds memory and does not change the maps. By default
        all of them on a GPU, and on a CPU as many as have 650,000 input features (four photographs
        of 224x224): more would take memory and save no time.
    on_unknown
        ``"error"``, or ``"warn"`` to use the gradient of functions that have no rule.
    output
        Where the logits are in what the model returns: a function, a key or attribute, or a
        position. ``"log"``: the model returns probabilities. ``"log_softmax"``: it returns their
        logarithms. ``"binary"``: it returns one logit z, and the logits of the classes 0 and 1 are
        -z and z. By default a returned tensor holds the logits, and an object has them as
        ``logits``.
    samples
        ``"rows"`` (default): each row of the inputs is a sample, and a model whose samples depend
        on one another is refused. ``"whole"``: all rows are parts of one sample, such as the nodes
        of a graph, and the logits (M, N) may have any number of rows. Then ``targets`` are (M,),
        and relevance is conserved over all rows together.
    model_kwargs
        Other keyword arguments of the model, such as masks. They get no relevance. Tensors that
        have a row for each sample are split into batches with the inputs. So may be a mask (T, T)
        of T samples, which has no such rows: the model is asked, by one sample alone and beside
        another.
    at
        Name of a module, or a list of names: the result is the relevance of their outputs and not
        of the inputs. Each output has the samples along its first axis, and each module is called
        once.
    accelerate
        False: every rule is applied as it is defined, and the totals of each call are restored at
        once. This is slower. Both ways agree to rounding, except for activations below 1e-9.
    **kwargs
        Keywords that Quantus passes to every explainer (``method``, ``device``, ...), ignored. A
        keyword that is nearly one of the above is an error.

    Returns
    -------
    Maps of the same kind, shape, device and dtype as ``inputs``; (B, K, ...) if targets are
    (B, K); (M, B, ...), one map of all rows for each row of the logits, with ``samples="whole"``.
    For several inputs the result is a tuple or dict of maps, with one total of relevance for all;
    integer inputs of a tuple have None. For a list of modules it is a dict of maps, each with a
    total of its own. With ``"streams"`` each stream sums to 1 before the subtraction.

    Raises
    ------
    ValueError
        If an argument is not as described, the model is in training mode, or the logits of a
        sample depend on other samples.
    UnknownOperationError
        If relevance reaches a torch function that has no rule.

    Warns
    -----
    RuntimeWarning
        If a sample loses more than 1 % of its relevance, a map is 0 or not finite (not for inputs
        on a GPU), or a rule set whose sums cancel is computed in 16 bits.
    UserWarning
        If samples are explained one at a time, or, with ``on_unknown="warn"``, for each function
        that has no rule.

    Notes
    -----
    Cost: one forward pass, and for each of K targets one backward pass per start; ``"streams"`` has
    two starts. Checks evaluate some samples again: one if inputs are of other types than the
    weights, one if the batch is split (by default
    with another, if samples are explained one at a time), and up to nine if the model computes
    masks, indices or numbers from activations. If samples cannot be followed through the model, it
    is evaluated three times more, and then for each sample. Memory: that of one batch's forward
    pass, for any K.

    References
    ----------
    Vukadin et al., ACM TIST 15(3), 2024, doi 10.1145/3649458, eq. 12.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> maps = abslrp.explain(model.eval(), torch.rand(2, 4), torch.tensor([0, 2]))
    >>> maps.shape
    torch.Size([2, 4])

    All three classes of each sample, in one forward pass:

    >>> abslrp.explain(model, torch.rand(2, 4), [[0, 1, 2], [0, 1, 2]]).shape
    torch.Size([2, 3, 4])

    Three nodes of a graph, each with a map of all nodes' features:

    >>> neighbours = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    >>> class Graph(torch.nn.Linear):
    ...     def forward(self, x):
    ...         return neighbours @ super().forward(x)
    >>> abslrp.explain(Graph(4, 2).eval(), torch.rand(3, 4), 0, samples="whole").shape
    torch.Size([3, 3, 4])
    """
    check_model(model)
    for name in sorted(kwargs):
        # Quantus passes keywords of all explainers; a near miss of ours is a typo.
        if close := difflib.get_close_matches(name, signature(explain).parameters, 1, 0.8):
            raise ValueError(f"{name}: no such option; did you mean {close[0]}?")
    settings = Settings(
        rules, conserve, on_unknown, output, attention, relevance_at, samples, accelerate,
        flows=noted(inputs), at=names_of(at),
    )  # fmt: skip
    batch, targets = with_target(Batch.of(model, inputs, model_kwargs), targets, target)
    check_reduce(reduce, batch)
    maps = maps_of(
        model, batch, targets, contrast, settings, against=against,
        channels=reduce == "channels", batch_size=batch_size,
    )  # fmt: skip
    warn_of_losses(settings.flows, ("the target", "the other classes"), maps)
    return cast(Array, batch.like(maps, inputs, at))


def relevance(
    model: nn.Module,
    inputs: Array,
    start: Any,
    *,
    conserve: Conserve = "operation",
    rules: str | RuleSet = "absLRP",
    relevance_at: RelevanceAt = "input",
    attention: Attention = None,
    on_unknown: Literal["error", "warn"] = "error",
    output: Output = None,
    samples: Literal["rows", "whole"] = "rows",
    model_kwargs: Mapping[str, Any] | None = None,
    at: str | Sequence[str] | None = None,
    start_at: str | None = None,
    accelerate: bool = True,
) -> Array:
    """Propagate a given relevance of the logits to the input.

    Parameters
    ----------
    model, inputs, conserve, rules, relevance_at, attention, on_unknown, output, samples,
    model_kwargs, at, accelerate
        As in :func:`explain`.
    start
        Relevance of the output, of any sign: (B, N), or the shape (B, ...) of the output. With
        another axis before it, (S, B, ...), it holds S starts for one call.
    start_at
        Name of the module at whose output ``start`` begins, instead of the model's output.

    Returns
    -------
    Relevance of the input, same kind and shape as ``inputs``; (S, B, ...) for S starts. With
    ``conserve="operation"`` each sample's sum is that of its start minus what is lost.

    Raises
    ------
    ValueError
        If ``start`` does not have the logits' shape, or another argument is not as described.
    UnknownOperationError
        If relevance reaches a torch function that has no rule.

    Notes
    -----
    Cost: one forward pass and one backward pass per start (with twice the products if the start
    has both signs).

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Linear(2, 2).eval()
    >>> start = torch.tensor([[1.0, 0.0]])
    >>> abslrp.relevance(model, torch.ones(1, 2), start, conserve=None).shape
    torch.Size([1, 2])
    """
    check_model(model)
    batch = Batch.of(model, inputs, model_kwargs)
    given = as_start(start)
    single: list[bool] = []
    settings = Settings(
        rules, conserve, on_unknown, output, attention, relevance_at, samples, accelerate,
        flows=noted(inputs), at=names_of(at), start_at=start_at, dense=True,
    )  # fmt: skip

    def make(logits: Tensor) -> list[Tensor]:
        wanted = given.to(device=logits.device, dtype=logits.dtype)
        if wanted.shape[-logits.ndim :] != logits.shape or wanted.ndim > logits.ndim + 1:
            raise ValueError(
                f"start: expected the shape of the logits, {tuple(logits.shape)}, or that with "
                f"one axis before it, got {tuple(wanted.shape)}"
            )
        single.append(wanted.ndim == logits.ndim)
        return [wanted[None] if single[-1] else wanted]

    signed = bool((given < 0).any())
    maps = propagate(model, batch, make, lambda maps: maps, settings, signed=signed)
    warn_of_losses(settings.flows)
    found = [one[0, 0] if single[-1] else one[0] for one in maps]
    return cast(Array, batch.like(found, inputs, at))


explain.accepts_tensors = True  # type: ignore[attr-defined]

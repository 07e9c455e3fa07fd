"""What a run costs for each image, and what the same would cost for more images."""

import pandas as pd


def costs(seconds: pd.DataFrame, images: int) -> pd.DataFrame:
    """Extrapolate wall time from the shards of a run to more images.

    Parameters
    ----------
    seconds
        Of :class:`benchmarks.runner.collected.Collected`: ``model``, ``method``, ``start``,
        ``stop``, ``metric``, ``seconds``, ``device``. Predictions (no method) and what is shared by
        the methods of a block, such as masking trajectories, count for the shard that computed it.
    images
        Number of images to extrapolate to.

    Returns
    -------
    A row for each model, device and method, in the order in which they ran: ``model``,
    ``device``, ``method``, ``per_image`` (seconds of one worker on that device) and ``hours``
    (of one such worker for all ``images``).

    Examples
    --------
    >>> shard = {"model": "m", "start": 0, "stop": 4, "device": "cuda:0"}
    >>> seconds = pd.DataFrame(
    ...     [
    ...         {**shard, "method": "absLRP", "metric": "GAE", "seconds": 3.0},
    ...         {**shard, "method": "absLRP", "metric": "Focus", "seconds": 1.0},
    ...     ]
    ... )
    >>> costs(seconds, images=7200)[["method", "device", "per_image", "hours"]].values.tolist()
    [['absLRP', 'cuda', 1.0, 2.0]]
    """
    methods = seconds[seconds["method"].ne("")]
    # Cards of one machine are taken to be alike.
    kind = methods["device"].str.partition(":")[0]
    keys = ["model", "device", "method"]
    samples = methods["stop"] - methods["start"]
    shards = methods.assign(device=kind, samples=samples).groupby([*keys, "start"], sort=False)
    each = shards.agg({"seconds": "sum", "samples": "first"})
    sums = each.groupby(keys, sort=False).sum().reset_index()
    per_image = sums["seconds"] / sums["samples"]
    return sums[keys].assign(per_image=per_image, hours=per_image * images / 3600)

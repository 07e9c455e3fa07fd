"""What a run imports and reads once, for a process of which others are forked."""

import importlib

from benchmarks.runner import identity

for name in ("gae_metric.demo.networks", "pandas", "pyarrow.pandas_compat", "sklearn.datasets"):
    importlib.import_module(name)
identity.module_digest(("tests.benchmarks.fakes",))

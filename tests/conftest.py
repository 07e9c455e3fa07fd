"""What all tests share: a busy machine, or a slow one, fails none of hypothesis's."""

from hypothesis import HealthCheck, settings

# A script of test_upstream.py, for another Quantus; what processes of test_run_kills.py begin with.
collect_ignore = ["upstream_functions.py", "benchmarks/runner/warmed.py"]

settings.register_profile(
    "processors", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("processors")

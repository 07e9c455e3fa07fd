"""What all tests share: a busy machine, or a slow one, fails none of hypothesis's."""

from hypothesis import HealthCheck, settings

# A script of test_upstream.py, for another Quantus.
collect_ignore = ["upstream_functions.py"]

settings.register_profile(
    "processors", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("processors")

"""Properties are tried by the same examples each time, however long a busy machine takes for one."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "nvbench", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("nvbench")

"""What holds for the whole suite."""

from hypothesis import HealthCheck, settings

# No figure of time decides whether a test passes: a busy machine is no fault of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("untimed")

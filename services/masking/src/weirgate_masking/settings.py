"""What the masking service is told."""

from pydantic import Field

from weirgate_chassis.settings import ServiceSettings


class MaskingSettings(ServiceSettings):
    """Settings of the masking service: ``WEIRGATE_…``."""

    plan_cache_entries: int = Field(default=8192, ge=1)
    """Plans that are kept for operations asked again in the same words."""

"""What the policy service is told."""

from pydantic import Field

from weirgate_chassis.settings import ServiceSettings


class PolicySettings(ServiceSettings):
    """Settings of the policy service."""

    catalog_refresh_s: float = Field(default=30.0, gt=0)
    """Seconds between two reads of a resource's catalog; a statement that may change it causes one at
    once."""
    catalog_limit_s: float = Field(default=300.0, gt=0)
    """Seconds without a good read after which nothing of the resource is allowed."""
    catalog_wait_s: float = Field(default=1.5, gt=0)
    """Longest a verdict waits for a catalog that is being read; less than ingress waits for the verdict."""

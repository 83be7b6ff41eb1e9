"""What the recorder is told."""

from pathlib import Path

from pydantic import Field, SecretStr

from weirgate_chassis.settings import ServiceSettings


class RecorderSettings(ServiceSettings):
    """Settings of the recorder."""

    read_model_dsn: SecretStr
    """Address of the PostgreSQL that holds the read model, with its password."""
    recording_key_file: Path
    """The key recordings are sealed with: to find out at once when one does not open."""
    checkpoint_messages: int = Field(default=10_000, ge=1)
    """A checkpoint at the latest after so many messages."""
    checkpoint_s: float = Field(default=10.0, gt=0)
    """A checkpoint at the latest after so many seconds in which something was stored."""
    batch: int = Field(default=1000, ge=1, le=20_000)
    """Messages stored in one transaction, at most."""
    recording_batch: int = Field(default=64, ge=1, le=1000)
    """Recording messages taken at a time: each may be as long as a message may be."""
    linger_s: float = Field(default=0.1, ge=0, le=10)
    """Pause after a batch that was not full: how far the read model lags behind the log."""

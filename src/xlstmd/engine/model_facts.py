"""What the engine knows of a model without having it: the model itself lives in its lane."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xlstmd.engine.tasks import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts about a model.

    Args:
      name: without version, for example `small`.
      version: for example `1`.
      description: what can be written as JSON.
      fingerprint: of the states of its streams; None where it cannot be fed point by point.
      slot_bytes: of one stream's slot; None likewise.
      guards: of a policy, see `PolicyGuards`; None for a forecaster.
    """

    name: str
    version: str
    description: Mapping[str, Any]
    fingerprint: str | None
    slot_bytes: int | None
    guards: Mapping[str, Any] | None = None

    @property
    def identity(self) -> str:
        """Name and version, for example `small@1`."""
        return f"{self.name}@{self.version}"


def facts_of(model: Model) -> ModelFacts:
    """Asks a model for its facts."""
    return ModelFacts(
        name=model.name,
        version=model.version,
        description=dict(model.describe()),
        fingerprint=getattr(model, "fingerprint", None),
        slot_bytes=getattr(model, "slot_bytes", None),
        guards=getattr(model, "guards", None),
    )

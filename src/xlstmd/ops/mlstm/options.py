"""What function an mLSTM computes. Architecture, not speed: stored with the weights."""

from dataclasses import dataclass

from xlstmd.ops.start import STABILIZER_START


@dataclass(frozen=True, slots=True, kw_only=True)
class MLSTMOptions:
    """Fields that change the function itself.

    Attributes:
      eps: added to the denominator, in scaled units (imported checkpoints use 1e-6).
      stabilizer_start: stabilizer of an empty memory (imported checkpoints use 0).
      gate_soft_cap: bound of both gate pre-activations; None for no bound.
    """

    eps: float = 0.0
    stabilizer_start: float = STABILIZER_START
    gate_soft_cap: float | None = None

"""What function an sLSTM computes. Architecture, not speed: stored with the weights."""

from dataclasses import dataclass

from xlstmd.ops.gates import ForgetGate


@dataclass(frozen=True, slots=True, kw_only=True)
class SLSTMOptions:
    """Fields that change the function itself.

    Attributes:
      forget_gate: `sigmoid` (every published checkpoint) or `exp`.
      gate_soft_cap: bound of the input and forget pre-activations; None for no bound.
    """

    forget_gate: ForgetGate = "sigmoid"
    gate_soft_cap: float | None = None

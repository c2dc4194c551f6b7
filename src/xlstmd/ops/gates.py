"""Gate arithmetic shared by every form of both recurrences."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

ForgetGate = Literal["sigmoid", "exp"]


def soft_cap(preact: Tensor, cap: float | None) -> Tensor:
    """Bounds a pre-activation smoothly to ±cap; `None` leaves it as it is.

    Source: xLSTM 7B, arXiv:2503.13427, section 3 (gate soft-capping).
    """
    return preact if cap is None else cap * torch.tanh(preact / cap)


def log_forget(preact: Tensor, forget_gate: ForgetGate) -> Tensor:
    """Gives the log of the forget gate: log-sigmoid, or the pre-activation itself for `exp`.

    Source: xLSTM, arXiv:2405.04517, equation 15.
    """
    return functional.logsigmoid(preact) if forget_gate == "sigmoid" else preact


def hold_invalid(log_i: Tensor, log_f: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Makes padded steps the identity on the memory: input gate 0, forget gate 1.

    Args:
      log_i: log of the input gate.
      log_f: log of the forget gate.
      valid: False where a step is padding, broadcastable to the gates.
    """
    if valid is None:
        return log_i, log_f
    return log_i.masked_fill(~valid, -torch.inf), log_f.masked_fill(~valid, 0.0)

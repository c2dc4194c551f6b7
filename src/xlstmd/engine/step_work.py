"""What the engine must know of a step to bring it to a lane, whatever kind of model runs there."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from xlstmd.engine.orders import Step
from xlstmd.errors import InputError, ModelFailed

# Beside the numbers: the objects of a step and of its answer.
STEP_BYTES: Final = 2048


class StepWork(Protocol):
    """What a step computes, in one portion or several: others have their turn between them."""

    @property
    def field(self) -> str:
        """Of the request, for errors."""

    @property
    def portions(self) -> int:
        """How many there are, 1 or more."""

    @property
    def nbytes(self) -> int:
        """Bytes held until the answer is given."""

    def points(self, portion: int) -> int:
        """Gives what the work of a portion is measured in: points in and points out."""

    def step(self, slot: int, portion: int) -> Step:
        """Gives what the model is asked for, in a slot."""

    def fault(self, answer: Any) -> InputError | ModelFailed | None:
        """Says why the model's answer to a portion is none."""

    def whole(self, answers: Sequence[Any]) -> Any:
        """Puts the answers to all portions together."""

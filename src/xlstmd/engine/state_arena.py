"""Where the states of a model's sessions lie, as the engine sees it."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray


class StateArena(Protocol):
    """The states of one model's sessions, in slots that are allocated at once."""

    def clear(self, slot: int) -> None:
        """Makes a slot one of a session that begins; nothing of the one before stays in it."""

    def copy(self, source: int, target: int) -> None:
        """Makes a slot hold what another one holds."""

    def export(self, slot: int) -> dict[str, NDArray[Any]]:
        """Gives all of a state as arrays whose names, shapes and types never change."""

    def restore(self, slot: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Makes a slot hold a state that was exported; raises `SnapshotDamaged`."""

"""Streams of one forecaster side by side: everything that belongs to one lies in its slot.

All memory is allocated at once, `slot_bytes` for each slot, whatever the streams see. NumPy only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import SnapshotDamaged
from xlstmd.models.anomaly import AnomalyScorer, fresh_arrays
from xlstmd.models.config import ForecasterConfig
from xlstmd.models.runtime import ForecastRuntime
from xlstmd.models.scaling import most_points

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

# Of a frozen scale, in the order of `renewal.Scale` and of the native library.
SCALE_FIELDS: Final = ("mean", "deviation", "count", "sum", "squares", "anchor", "jumps")
_SCALE: Final = np.dtype(
    [(name, "i8" if name in ("anchor", "jumps") else "f8") for name in SCALE_FIELDS]
)
_SCORES: Final = "score_"
_BEGUN: Final = _SCORES + "begun"
_MADE_AT: Final = _SCORES + "made_at"
_STANDING: Final = _SCORES + "quantiles"
_SURPRISES: Final = _SCORES + "surprises"

# Larger than anything that is counted here, and far from overflow.
_MOST_OBSERVED: Final = 2**60
_MOST_JUMPS: Final = 400


class StreamArena:
    """Slots of streams; which slot belongs to whom is the caller's business.

    Attributes:
      config: of the forecaster.
      slots: how many there are.
      points: [slots, C], since the start of each context, NaN = missing.
      known: [slots], how many of them there are.
      observed: [slots], points since the first observed one ever.
      scale: [slots], frozen: fields of `renewal.Scale`.
      encoded: [slots], tokens that lie in the state.
      state: [slots, S], of the backbone.
    """

    def __init__(self, config: ForecasterConfig, runtime: ForecastRuntime, slots: int) -> None:
        """Allocates all slots, each without a point.

        Args:
          config: of the forecaster.
          runtime: of its network.
          slots: how many streams there can be.
        """
        self.config = config
        self.slots = slots
        self._fresh = _fresh_slot(config, runtime)
        self._arrays = {
            name: np.repeat(array[None], slots, axis=0) for name, array in self._fresh.items()
        }
        self.points: Floats = self._arrays["points"]
        self.known: NDArray[np.int64] = self._arrays["known"]
        self.observed: NDArray[np.int64] = self._arrays["observed"]
        self.scale: NDArray[np.void] = self._arrays["scale"]
        self.encoded: NDArray[np.int64] = self._arrays["encoded"]
        self.state: NDArray[np.float32] = self._arrays["state"]
        # The same numbers, quicker to get at one by one.
        begun, made_at = (self._arrays[name].reshape(-1) for name in (_BEGUN, _MADE_AT))
        self._observed_at: memoryview[int] = memoryview(cast(Any, self.observed))
        self._begun_at: memoryview[bool] = memoryview(cast(Any, begun))
        self._made_at: memoryview[int] = memoryview(cast(Any, made_at))

    def clear(self, slot: int) -> None:
        """Makes a slot one without a point; nothing of the stream before stays in it."""
        for name, array in self._arrays.items():
            array[slot] = self._fresh[name]

    def copy(self, source: int, target: int) -> None:
        """Makes a slot hold what another one holds."""
        for array in self._arrays.values():
            array[target] = array[source]

    def forget_state(self, slots: NDArray[np.int64]) -> None:
        """Makes the states those before the first token."""
        self.state[slots] = self._fresh["state"]
        self.encoded[slots] = 0

    def begun(self, slots: Sequence[int]) -> list[bool]:
        """Gives whether the points of each slot are scored; see `AnomalyScorer.begin`."""
        begun = self._begun_at
        return [begun[slot] for slot in slots]

    def counts(self, slots: Sequence[int]) -> list[int]:
        """Gives the points of each slot since its first observed one."""
        observed = self._observed_at
        return [observed[slot] for slot in slots]

    def begin_scores(self, slot: int) -> None:
        """Notes that the points of a slot are scored from now on."""
        self._begun_at[slot] = True

    def made_at(self, slot: int) -> int:
        """Gives how many points there were when the forecast that stands was made."""
        return self._made_at[slot]

    def scorer(self, slot: int) -> AnomalyScorer:
        """Gives what scores the points of a slot; its state is in the slot."""
        arrays = {name: array[slot] for name, array in self.scores().items()}
        return AnomalyScorer(self.config.quantile_levels, self.config.patch_length, arrays)

    def scores(self) -> Arrays:
        """Gives the states of all slots' scorers, [slots, ...] each."""
        return {
            name.removeprefix(_SCORES): array
            for name, array in self._arrays.items()
            if name.startswith(_SCORES)
        }

    def export(self, slot: int) -> Arrays:
        """Gives all of a stream as arrays whose names, shapes and types never change."""
        flat = {name: array[slot : slot + 1].copy() for name, array in self._arrays.items()}
        flat["scale"] = flat["scale"].view(np.uint8)
        return flat

    def restore(self, slot: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Makes a slot hold a stream that was exported.

        Raises:
          SnapshotDamaged: an array is missing, or has another shape or type; the slot is as it was.
        """
        own = self.export(slot)
        for name, like in own.items():
            array = arrays.get(name)
            if array is None or (array.shape, array.dtype) != (like.shape, like.dtype):
                got = "nothing" if array is None else f"{array.dtype} of {list(array.shape)}"
                raise SnapshotDamaged(f"{name} as {like.dtype} of {list(like.shape)}", got)
        self._check(arrays)
        for name, array in self._arrays.items():
            stored = np.ascontiguousarray(arrays[name])
            array[slot] = stored.view(_SCALE)[0] if name == "scale" else stored[0]

    def _check(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Refuses numbers that no stream has: a snapshot's bytes may be anybody's."""
        scale = np.ascontiguousarray(arrays["scale"]).view(_SCALE)[0]
        known, observed, encoded, made_at = (
            int(arrays[name].item()) for name in ("known", "observed", "encoded", _MADE_AT)
        )
        full = max(known - 1, 0) // self.config.patch_length
        _within("known", known, self.points.shape[1])
        _within("observed", observed, _MOST_OBSERVED, least=known)
        _within("encoded", encoded, full, least=full)
        _within("made_at", made_at, observed)
        _within("anchor", int(scale["anchor"]), known)
        _within("jumps", int(scale["jumps"]), _MOST_JUMPS)
        numbers = [float(scale[name]) for name in SCALE_FIELDS]
        if not np.isfinite(numbers).all() or min(scale["deviation"], scale["count"]) < 0.0:
            raise SnapshotDamaged("a scale of finite numbers", "another one")
        if not np.isfinite(arrays["state"]).all() or not np.isfinite(arrays[_STANDING]).all():
            raise SnapshotDamaged("a state and a forecast of finite numbers", "NaN or infinity")
        if np.isinf(arrays["points"]).any() or np.isnan(arrays[_SURPRISES]).any():
            raise SnapshotDamaged("points and surprises that are finite or missing", "others")


def _within(name: str, number: int, most: int, *, least: int = 0) -> None:
    if not least <= number <= most:
        raise SnapshotDamaged(f"{name} from {least} to {most}", str(number))


def slot_bytes(config: ForecasterConfig, runtime: ForecastRuntime) -> int:
    """Gives the bytes of one slot, before anything is allocated."""
    return sum(array.nbytes for array in _fresh_slot(config, runtime).values())


def _fresh_slot(config: ForecasterConfig, runtime: ForecastRuntime) -> Arrays:
    scores = fresh_arrays(config.quantile_levels, config.patch_length)
    return {
        "points": np.full(most_points(config.context_length), np.nan),
        "known": np.zeros((), dtype=np.int64),
        "observed": np.zeros((), dtype=np.int64),
        "scale": np.zeros((), dtype=_SCALE),
        "encoded": np.zeros((), dtype=np.int64),
        "state": runtime.init_state(1)[0],
        **{_SCORES + name: array for name, array in scores.items()},
    }

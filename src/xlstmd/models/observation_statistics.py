"""Running statistics of observations, frozen into a policy: normalization, and what is unusual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ConfigError

Numbers = NDArray[np.float64]

# Normalized quantities are cut off here, so that an outlier cannot flood the memory.
CUT: Final = 10.0
_LEAST_VARIANCE: Final = 1e-8

# Added to the correlations before they are inverted: quantities that always move together would
# make any deviation infinitely unusual.
_RIDGE: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObservationStatistics:
    """What the observations of training were like; all arrays have one entry for each number.

    Attributes:
      count: observations.
      mean: of each number.
      covariance: [F, F].
      lowest: of each number.
      highest: of each number.
      farthest: largest distance of the observations that came last, see `ObservationDistances`.
    """

    count: int
    mean: Numbers
    covariance: Numbers
    lowest: Numbers
    highest: Numbers
    farthest: float

    @classmethod
    def empty(cls, size: int) -> Self:
        """Gives the statistics before the first observation: mean 0, deviation 1."""
        return cls(
            count=0,
            mean=np.zeros(size),
            covariance=np.eye(size),
            lowest=np.full(size, np.inf),
            highest=np.full(size, -np.inf),
            farthest=0.0,
        )

    def updated(self, observations: NDArray[np.floating[Any]]) -> Self:
        """Gives the statistics with more observations [N, F]."""
        new = np.asarray(observations, dtype=np.float64)
        count = self.count + len(new)
        mean = new.mean(axis=0)
        centered = new - mean
        shift = mean - self.mean if self.count else np.zeros_like(mean)
        spread = self.covariance * self.count + centered.T @ centered
        spread += np.outer(shift, shift) * self.count * len(new) / count
        after = type(self)(
            count=count,
            mean=(self.mean + shift * len(new) / count) if self.count else mean,
            covariance=spread / count,
            lowest=np.minimum(self.lowest, new.min(axis=0)),
            highest=np.maximum(self.highest, new.max(axis=0)),
            farthest=0.0,
        )
        return replace(after, farthest=float(ObservationDistances(after)(new).max()))

    @property
    def deviation(self) -> Numbers:
        """Standard deviation of each number, never 0."""
        return np.sqrt(np.maximum(np.diag(self.covariance), _LEAST_VARIANCE))

    def to_dict(self) -> dict[str, Any]:
        """Gives the statistics as plain values; `from_dict` reads them."""
        arrays = ("mean", "covariance", "lowest", "highest")
        numbers = {name: getattr(self, name).tolist() for name in arrays}
        return {"count": self.count, **numbers, "farthest": self.farthest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads statistics.

        Raises:
          ConfigError: a missing or unfit field.
        """
        size = len(values.get("mean", ()))
        return cls(
            count=int(values.get("count", 0)),
            mean=_numbers("mean", values, (size,)),
            covariance=_numbers("covariance", values, (size, size)),
            lowest=_numbers("lowest", values, (size,)),
            highest=_numbers("highest", values, (size,)),
            farthest=float(_numbers("farthest", values, ())),
        )


class ObservationDistances:
    """Says how unusual observations are: Mahalanobis distances by the root of their size, about 1.

    What training saw last lay within `ObservationStatistics.farthest`.

    Attributes:
      scale: [F, F], takes what differs from the mean to a vector as long as the distance.
    """

    def __init__(self, statistics: ObservationStatistics) -> None:
        """Prepares the distances."""
        deviation = statistics.deviation
        correlation = statistics.covariance / np.outer(deviation, deviation)
        ridge = _RIDGE * np.eye(len(deviation))
        root = np.linalg.cholesky(np.linalg.inv(correlation + ridge))
        self._mean = statistics.mean
        self.scale: Numbers = (root.T / deviation).T / np.sqrt(len(deviation))

    def __call__(self, observations: NDArray[np.floating[Any]]) -> Numbers:
        """Gives distances [...] of observations [..., F]."""
        distances: Numbers = np.linalg.norm((observations - self._mean) @ self.scale, axis=-1)
        return distances


class ObservationEncoder:
    """Turns observations into a network's inputs: quantities normalized, choices one-hot.

    Attributes:
      num_inputs: numbers per step.
    """

    def __init__(
        self, observation_choices: Sequence[int], statistics: ObservationStatistics
    ) -> None:
        """Prepares the encoding.

        Args:
          observation_choices: for each number, 0 where it is a quantity.
          statistics: of the quantities; those of choices are not used.
        """
        counts = np.array(observation_choices)
        widths = np.maximum(counts, 1)
        self.num_inputs = int(widths.sum())
        self._first = np.concatenate([[0], np.cumsum(widths)[:-1]])
        self._quantities = np.flatnonzero(counts == 0)
        self._choices = np.flatnonzero(counts)
        self._last_choice = counts[self._choices] - 1
        self._mean = statistics.mean[self._quantities]
        deviation = statistics.deviation[self._quantities]
        self._factor = 1.0 / deviation
        # Cut off before it is scaled, so that nothing overflows.
        self._low, self._high = self._mean - CUT * deviation, self._mean + CUT * deviation

    def __call__(self, observations: Numbers) -> NDArray[np.float32]:
        """Gives inputs [..., I] of finite observations [..., F]; no choice is the nearest one."""
        if not len(self._choices):
            return self._scaled(observations).astype(np.float32)
        inputs = np.zeros((*observations.shape[:-1], self.num_inputs), dtype=np.float32)
        places = self._first[self._quantities]
        inputs[..., places] = self._scaled(observations[..., self._quantities])
        chosen = np.clip(np.rint(observations[..., self._choices]), 0, self._last_choice)
        places = self._first[self._choices] + chosen.astype(np.int64)
        np.put_along_axis(inputs, places, 1.0, axis=-1)
        return inputs

    def _scaled(self, quantities: Numbers) -> Numbers:
        cut = np.minimum(np.maximum(quantities, self._low), self._high)
        scaled: Numbers = (cut - self._mean) * self._factor
        return scaled


def _numbers(name: str, values: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers:
    array = np.asarray(values.get(name, ()), dtype=np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ConfigError(f"statistics.{name}: expected finite numbers {list(shape)}")
    return array

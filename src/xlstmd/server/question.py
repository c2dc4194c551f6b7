"""A forecast request as the engine wants it, with what the answer needs besides."""

import re
from dataclasses import dataclass
from typing import Final

from msgspec import Raw

from xlstmd.engine.tasks import DEFAULT_QUANTILE_LEVELS, ForecastTask
from xlstmd.errors import InputError, LimitError
from xlstmd.server.arrays import FloatArray, read_binary, refuse_infinite, series_values
from xlstmd.server.decode import decode_request, decode_series
from xlstmd.server.media import Media
from xlstmd.server.settings import Settings
from xlstmd.server.times import Times, read_times
from xlstmd.server.wire import ID_PATTERN, MODEL_PATTERN, BinaryArray, SeriesInput

Histories = tuple[FloatArray, ...]

# Mean and median, which every answer has besides the levels.
FIXED_ROWS: Final = 2

SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class SeriesLabel:
    """What a series is called and where it ends.

    Args:
      id: as sent; `None` without one.
      times: `None` when none were sent.
    """

    id: str | None
    times: Times | None


Labels = tuple[SeriesLabel, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A checked request.

    Args:
      histories: see `ForecastTask`.
      horizon: see `ForecastTask`.
      quantile_levels: see `ForecastTask`.
      model: as asked for; `None` is the default one.
      labels: one for each history.
    """

    histories: Histories
    horizon: int
    quantile_levels: tuple[float, ...]
    model: str | None
    labels: Labels

    @property
    def numbers(self) -> int:
        """Numbers of the answer."""
        return len(self.labels) * self.horizon * (len(self.quantile_levels) + FIXED_ROWS)

    def task(self, deadline_s: float) -> ForecastTask:
        """Gives the engine's task.

        Raises:
          InputError: see `ForecastTask`.
        """
        return ForecastTask(
            histories=self.histories,
            horizon=self.horizon,
            quantile_levels=self.quantile_levels,
            model=self.model,
            deadline_s=deadline_s,
        )


def read_question(body: bytes, media: Media, limits: Settings) -> Question:
    """Decodes and checks the body of a forecast request.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
      LimitError: 413 `too_many_items`.
    """
    request = decode_request(body, media)
    levels = read_levels(request.quantile_levels, limits)
    if request.model is not None:
        check_name(request.model, MODEL_PATTERN, "model")
    if not 1 <= request.horizon <= limits.max_horizon:
        raise InputError("horizon", f"1 to {limits.max_horizon}", str(request.horizon)[:SHOWN])
    if isinstance(request.series, BinaryArray):
        histories, labels = _read_table(request.series, limits)
    else:
        histories, labels = _read_entries(request.series, media, limits)
    question = Question(histories, request.horizon, levels, request.model, labels)
    if question.numbers > limits.max_answer_numbers:
        raise LimitError(
            "horizon",
            f"at most {limits.max_answer_numbers} numbers in the answer",
            f"{question.numbers} (series times horizon times levels, mean and median included)",
        )
    return question


def read_levels(given: list[float] | BinaryArray | None, limits: Settings) -> tuple[float, ...]:
    """Gives the levels that are asked for, not more than allowed; `None` asks for the usual ones.

    Raises:
      InputError: an array that cannot be read.
      LimitError: too many.
    """
    field = "quantile_levels"
    if given is None:
        return DEFAULT_QUANTILE_LEVELS
    levels: tuple[float, ...]
    if isinstance(given, BinaryArray):
        levels = tuple(read_binary(given, rank=1, field=field).tolist())
    else:
        levels = tuple(given)
    if len(levels) > limits.max_quantile_levels:
        raise LimitError(field, f"at most {limits.max_quantile_levels} levels", str(len(levels)))
    return levels


def _read_table(table: BinaryArray, limits: Settings) -> tuple[Histories, Labels]:
    array = read_binary(table, rank=2, field="series")
    _check_size(len(array), array.size, limits)
    for index, row in enumerate(array):
        refuse_infinite(row, field=f"series[{index}].values")
    return tuple(array), (SeriesLabel(None, None),) * len(array)


def _read_entries(entries: list[Raw], media: Media, limits: Settings) -> tuple[Histories, Labels]:
    _check_size(len(entries), 0, limits)
    histories: list[FloatArray] = []
    labels: list[SeriesLabel] = []
    points = 0
    for index, raw in enumerate(entries):
        path = f"series[{index}]"
        series = decode_series(raw, media, path=path)
        history = series_values(series.values, field=f"{path}.values")
        points += len(history)
        _check_size(len(entries), points, limits)
        if not len(history):
            expected = "at least one observed value"
            raise InputError(f"{path}.values", expected, "no points", code="empty")
        if series.id is not None:
            check_name(series.id, ID_PATTERN, f"{path}.id")
        _refuse_covariates(series, path)
        histories.append(history)
        labels.append(SeriesLabel(series.id, read_times(series, len(history), path=path)))
    return tuple(histories), tuple(labels)


def _check_size(series: int, points: int, limits: Settings) -> None:
    if series > limits.max_series:
        raise LimitError("series", f"at most {limits.max_series} series", str(series))
    if points > limits.max_points:
        raise LimitError("series", f"at most {limits.max_points} points", f"{points} or more")


def check_name(name: str, pattern: str, field: str) -> None:
    """Refuses what is no name.

    Raises:
      InputError: the name does not match the pattern.
    """
    if re.fullmatch(pattern, name) is None:
        expected = "1 to 128 letters, digits, dots, underscores or hyphens"
        raise InputError(field, expected, repr(name[:SHOWN]))


def _refuse_covariates(series: SeriesInput, path: str) -> None:
    for name in ("past_covariates", "future_covariates"):
        if getattr(series, name):
            raise InputError(
                f"{path}.{name}",
                "no covariates, because the model takes none",
                f"{len(getattr(series, name))} of them",
                code="unknown_field",
            )

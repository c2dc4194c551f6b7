"""Times of a request's series: checked before the forecast, continued after it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from xlstmd.errors import InputError, ShapeError
from xlstmd.models.calendar import (
    Frequency,
    check_increasing,
    format_time,
    infer_frequency,
    parse_freq,
    parse_time,
)
from xlstmd.server.wire import SeriesInput


@dataclass(frozen=True, slots=True)
class Times:
    """Where a series ends and how it goes on.

    Args:
      last: time of the last value.
      frequency: from one value to the next.
    """

    last: datetime
    frequency: Frequency

    def future(self, horizon: int) -> list[str]:
        """Gives the times of the forecast.

        Raises:
          InputError: beyond the year 9999.
        """
        return [format_time(time) for time in self.frequency.after(self.last, horizon)]


def read_times(series: SeriesInput, count: int, *, path: str) -> Times | None:
    """Reads the times of a series; `None` when it has none.

    Args:
      series: as sent.
      count: number of its values, 1 or more.
      path: of the series, for example `series[3]`.

    Raises:
      InputError: times that are incomplete, do not increase or are not regular.
    """
    if series.timestamps is not None:
        if series.start is not None:
            raise InputError(f"{path}.start", "no start beside timestamps", "both")
        return _from_timestamps(series.timestamps, series.freq, count, path=path)
    given = read_start(series.start, series.freq, prefix=f"{path}.")
    return None if given is None else Times(end_of(*given, count), given[1])


def read_start(
    start: str | None, freq: str | None, *, prefix: str = ""
) -> tuple[datetime, Frequency] | None:
    """Reads where a series starts and how it goes on; `None` when neither is given.

    Args:
      start: first time.
      freq: from one value to the next.
      prefix: of both names in errors.

    Raises:
      InputError: only one of them, or one that cannot be read.
    """
    if start is None and freq is None:
        return None
    for name, value in (("start", start), ("freq", freq)):
        if value is None:
            raise InputError(
                f"{prefix}{name}", "start and freq", "one of them", code="missing_field"
            )
    first = parse_time(start or "", field=f"{prefix}start")
    return first, parse_freq(freq or "", field=f"{prefix}freq")


def _from_timestamps(
    timestamps: Sequence[str], freq: str | None, count: int, *, path: str
) -> Times:
    field = f"{path}.timestamps"
    if len(timestamps) != count:
        raise ShapeError(field, f"{count} times, as many as values", str(len(timestamps)))
    times = [parse_time(text, field=f"{field}[{i}]") for i, text in enumerate(timestamps)]
    if freq is None:
        return Times(times[-1], infer_frequency(times, field=field))
    frequency = parse_freq(freq, field=f"{path}.freq")
    check_increasing(times, field=field)
    for index, expected in enumerate(frequency.after(times[0], count - 1), start=1):
        if times[index] != expected:
            raise InputError(
                f"{field}[{index}]",
                f"{format_time(expected)} by freq {freq} (a point without a value is null)",
                format_time(times[index]),
            )
    return Times(times[-1], frequency)


def end_of(start: datetime, frequency: Frequency, count: int) -> datetime:
    """Gives the time of value number `count`, 1 or more, without listing those between.

    Raises:
      InputError: beyond the year 9999.
    """
    if count == 1:
        return start
    second = frequency.after(start, 1)[0]
    if count == 2:
        return second
    return replace(frequency, count=frequency.count * (count - 2)).after(second, 1)[0]

"""The grid that the times of a series lie on, gaps allowed. NumPy only.

Times are whole numbers: microseconds since 1970 on some clock, or the caller's own count.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError
from xlstmd.models.calendar import FIXED_MICROSECONDS, FRIDAY, LAST_DAY, Frequency, Unit

Times = NDArray[np.int64]

DAY: Final = FIXED_MICROSECONDS["D"]
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
LARGEST_COUNT: Final = int(np.iinfo(np.int64).max)

# 1 January 1970 was a Thursday.
_WEEKDAY_OF_EPOCH: Final = 3
_SHORTEST_MONTH: Final = 28 * DAY


def find_step(times: Times) -> Frequency | None:
    """Finds the step that explains all times; where a point is left out it may be a multiple.

    It is the commonest distance: whole months to the same day before a fixed step; business days
    where a weekend lies between the times, but none of them on one.

    Args:
      times: two or more, strictly increasing, microseconds since 1970.

    Returns:
      None where no step explains them.
    """
    for candidate in (_months(times), _business_days(times), find_count(times)):
        if candidate is not None and (positions(times, candidate) >= 0).all():
            return candidate
    return None


def find_count(times: Times) -> Frequency:
    """Gives the commonest distance of two or more strictly increasing times, as a fixed step."""
    return Frequency(unit=Unit.FIXED, count=_commonest(np.diff(times)))


def positions(times: Times, step: Frequency) -> Times:
    """Gives each time's place on the grid that starts with the first one; -1 off the grid."""
    if step.unit is Unit.FIXED:
        index, rest = np.divmod(times - times[0], step.count)
        return np.where(rest == 0, index, -1)
    days, clock = np.divmod(times, DAY)
    if step.unit is Unit.BUSINESS_DAY:
        weeks, weekday = np.divmod(days + _WEEKDAY_OF_EPOCH, 7)
        counted, is_on = weeks * 5 + weekday, weekday <= FRIDAY
    else:
        counted, day, last_day = _month_and_day(days)
        is_on = day == np.minimum(step.day, last_day)
    index, rest = np.divmod(counted - counted[0], step.count)
    # Every time is tied to the first one; if that is off the grid, all are.
    return np.where(is_on & is_on[0] & (rest == 0) & (clock == clock[0]), index, -1)


def following(last: int, step: Frequency, count: int, *, limit: int = LAST_TIME) -> Times:
    """Gives the `count` times after `last`.

    Args:
      last: a time on the grid.
      step: of the grid.
      count: 0 or more.
      limit: the largest time that can be written.

    Raises:
      InputError: a time would lie beyond the limit.
    """
    if step.unit is Unit.FIXED:
        if last + step.count * count > limit:
            expected = "times up to the year 9999" if limit == LAST_TIME else f"ds up to {limit}"
            raise InputError("horizon", expected, f"{count} steps beyond the last point")
        return last + step.count * np.arange(1, count + 1, dtype=np.int64)
    start = EPOCH + timedelta(microseconds=last)
    later = [(time - EPOCH) // timedelta(microseconds=1) for time in step.after(start, count)]
    return np.array(later, dtype=np.int64)


def _months(times: Times) -> Frequency | None:
    if np.diff(times).min() < _SHORTEST_MONTH:
        return None
    months, day, last_day = _month_and_day(times // DAY)
    count = _commonest(np.diff(months))
    if count < 1:
        return None
    on_day = LAST_DAY if (day == last_day).all() else int(day.max())
    return Frequency(unit=Unit.MONTH, count=count, day=on_day)


def _business_days(times: Times) -> Frequency | None:
    weeks, weekday = np.divmod(times // DAY + _WEEKDAY_OF_EPOCH, 7)
    is_daily = _commonest(np.diff(times)) == DAY
    if not is_daily or weekday.max() > FRIDAY or weeks[0] == weeks[-1]:
        return None
    return Frequency(unit=Unit.BUSINESS_DAY, count=1)


def _commonest(distances: Times) -> int:
    """Gives the commonest number, the smallest of several that are."""
    values, counts = np.unique(distances, return_counts=True)
    return int(values[counts.argmax()])


def _month_and_day(days: Times) -> tuple[Times, Times, Times]:
    """Gives months since 1970, the day of the month and the month's last day."""
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    starts = months.astype("datetime64[D]").astype(np.int64)
    ends = (months + np.timedelta64(1, "M")).astype("datetime64[D]").astype(np.int64)
    return months.astype(np.int64), days - starts + 1, ends - starts

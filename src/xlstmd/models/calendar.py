"""Calendar arithmetic of series: what time the next point has. All times are UTC.

A frequency is a fixed step (`15min`, `h`, `D`, `W`), a step of business days (`B`) or a step of
whole months to a day of the month (`MS` the first, `ME` the last, quarters and years likewise).
The names are those of pandas; a whole number may stand before each (`4h`, `2QE`).
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from xlstmd.errors import InputError

LAST_DAY: Final = 31
MONTHS_A_YEAR: Final = 12
FRIDAY: Final = 4


class Unit(StrEnum):
    """What a frequency counts."""

    FIXED = "fixed"
    BUSINESS_DAY = "business day"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequency:
    """The distance between two points of a series.

    Args:
      unit: what `count` counts.
      count: microseconds, business days or months.
      day: of the month, for months only; in a shorter month its last day is meant.
    """

    unit: Unit
    count: int
    day: int = LAST_DAY

    @property
    def name(self) -> str:
        """Gives the shortest name, for example `15min`; steps without one are spelled out."""
        if self.unit is Unit.MONTH:
            return self._month_name()
        names = FIXED_MICROSECONDS if self.unit is Unit.FIXED else {"B": 1}
        for name, microseconds in sorted(names.items(), key=lambda item: -item[1]):
            if self.count % microseconds == 0:
                count = self.count // microseconds
                return name if count == 1 else f"{count}{name}"
        raise AssertionError("a microsecond divides every fixed step")

    def after(self, last: datetime, count: int) -> list[datetime]:
        """Gives the `count` times that follow `last`.

        Args:
          last: a time with a zone; one off the grid (no business day, not the day of the month)
            is followed by the next time on it.
          count: 0 or more.

        Raises:
          InputError: a time would lie beyond the year 9999.
        """
        try:
            match self.unit:
                case Unit.FIXED:
                    step = timedelta(microseconds=self.count)
                    return [last + step * (index + 1) for index in range(count)]
                case Unit.BUSINESS_DAY:
                    return self._business_days_after(last, count)
                case Unit.MONTH:
                    return self._months_after(last, count)
        except (OverflowError, ValueError):
            raise InputError(
                "horizon", "times up to the year 9999", f"{count} steps of {self.name} after {last}"
            ) from None

    def _business_days_after(self, last: datetime, count: int) -> list[datetime]:
        # From a weekend on, the first business day is Monday: as if Friday had been the last.
        weekday = min(last.weekday(), FRIDAY)
        friday_or_before = last - timedelta(days=last.weekday() - weekday)
        times = []
        for index in range(count):
            weeks, days = divmod(weekday + (index + 1) * self.count, 5)
            times.append(friday_or_before + timedelta(days=7 * weeks + days - weekday))
        return times

    def _months_after(self, last: datetime, count: int) -> list[datetime]:
        month = last.year * MONTHS_A_YEAR + last.month - 1
        if self._on_day(month, last) != last:
            # Off the grid: quarters and years start and end with the calendar's.
            unit = next(months for months in (12, 3, 1) if self.count % months == 0)
            month += -(month + (self.day == LAST_DAY)) % unit
            if self._on_day(month, last) < last:
                month += unit
            month -= unit
        month += self.count
        return [self._on_day(month + index * self.count, last) for index in range(count)]

    def _on_day(self, month: int, clock: datetime) -> datetime:
        year, index = divmod(month, MONTHS_A_YEAR)
        days = days_in_month(year, index + 1)
        return clock.replace(year=year, month=index + 1, day=min(self.day, days))

    def _month_name(self) -> str:
        edge = {1: "S", LAST_DAY: "E"}.get(self.day)
        if edge is None:
            return f"{self.count} months on day {self.day}"
        for months, letter in ((12, "Y"), (3, "Q"), (1, "M")):
            if self.count % months == 0:
                count = self.count // months
                return f"{letter}{edge}" if count == 1 else f"{count}{letter}{edge}"
        raise AssertionError("one divides every count")


SECOND: Final = 1_000_000
FIXED_MICROSECONDS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": SECOND,
    "min": 60 * SECOND,
    "h": 3_600 * SECOND,
    "D": 86_400 * SECOND,
    "W": 7 * 86_400 * SECOND,
}
MONTH_NAMES: Final = {
    "MS": (1, 1),
    "ME": (1, LAST_DAY),
    "QS": (3, 1),
    "QE": (3, LAST_DAY),
    "YS": (12, 1),
    "YE": (12, LAST_DAY),
}
NAMES: Final = (*FIXED_MICROSECONDS, "B", *MONTH_NAMES)
LONGEST_COUNT: Final = 6


def parse_freq(text: str, *, field: str = "freq") -> Frequency:
    """Reads a frequency by its name.

    Args:
      text: for example `h`, `15min`, `ME`.
      field: where it stands, for the error.

    Raises:
      InputError: no such name, or a count of zero or of more than six digits.
    """
    match = re.fullmatch(r"([0-9]*)([A-Za-z]+)", text.strip())
    expected = f"one of {', '.join(NAMES)}, with a whole number before it if needed"
    if match is None:
        raise InputError(field, expected, repr(text[:40]))
    digits, name = match.groups()
    if name not in NAMES:
        folded = {known.lower(): known for known in NAMES}
        near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
        hint = f"; did you mean {digits}{folded[near[0]]}?" if near else ""
        raise InputError(field, expected, repr(text[:40]) + hint)
    if len(digits) > LONGEST_COUNT or (digits and int(digits) == 0):
        raise InputError(field, "a count from 1 to 999999", digits[:40])
    count = int(digits or 1)
    if name in FIXED_MICROSECONDS:
        return Frequency(unit=Unit.FIXED, count=count * FIXED_MICROSECONDS[name])
    if name == "B":
        return Frequency(unit=Unit.BUSINESS_DAY, count=count)
    months, day = MONTH_NAMES[name]
    return Frequency(unit=Unit.MONTH, count=count * months, day=day)


def infer_frequency(timestamps: Sequence[datetime], *, field: str = "timestamps") -> Frequency:
    """Finds the one frequency that explains all times of a series.

    Whole months on the same day (or on the last day) are preferred to a fixed step that explains
    the times too; business days are found once a weekend is left out.

    Args:
      timestamps: with a zone, strictly increasing.
      field: where they stand, for the error.

    Raises:
      InputError: fewer than two times, times that do not increase, or no regular spacing.
    """
    if len(timestamps) < 2:
        got = f"{len(timestamps)} without freq"
        raise InputError(field, "at least two times, or freq beside them", got)
    check_increasing(timestamps, field=field)
    candidates = (_by_months(timestamps), _by_step(timestamps), _by_business_days(timestamps))
    for candidate in candidates:
        if candidate is not None:
            return candidate
    raise _irregular(timestamps, field)


def check_increasing(timestamps: Sequence[datetime], *, field: str = "timestamps") -> None:
    """Refuses times that do not grow strictly.

    Raises:
      InputError: with the first index where they do not.
    """
    for index in range(1, len(timestamps)):
        earlier, later = timestamps[index - 1], timestamps[index]
        if later <= earlier:
            kind = "again" if later == earlier else f"after {earlier.isoformat()}"
            raise InputError(
                f"{field}[{index}]", "strictly increasing times", f"{later.isoformat()} {kind}"
            )


def parse_time(text: str, *, field: str) -> datetime:
    """Reads an ISO 8601 time; without an offset it is UTC.

    Raises:
      InputError: not ISO 8601, or outside of the years 1 to 9999.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InputError(
            field, "an ISO 8601 time such as 2026-01-31T06:00:00Z", repr(text[:40])
        ) from None


def format_time(time: datetime) -> str:
    """Writes a UTC time as ISO 8601 with Z."""
    return time.replace(tzinfo=None).isoformat() + "Z"


def days_in_month(year: int, month: int) -> int:
    """Gives the number of days of a month.

    Raises:
      OverflowError: the year is beyond 9999.
    """
    if year > datetime.max.year:
        raise OverflowError(year)
    if month == MONTHS_A_YEAR:
        return LAST_DAY
    return (datetime(year, month + 1, 1) - timedelta(days=1)).day


def _by_months(timestamps: Sequence[datetime]) -> Frequency | None:
    first, second = timestamps[0], timestamps[1]
    months = (second.year - first.year) * MONTHS_A_YEAR + second.month - first.month
    if months < 1:
        return None
    day = max(time.day for time in timestamps)
    if all(time.day == days_in_month(time.year, time.month) for time in timestamps):
        day = LAST_DAY
    candidate = Frequency(unit=Unit.MONTH, count=months, day=day)
    # The first must lie on its day too, else 28 February would pass for the 30th of a month.
    if first.day != min(day, days_in_month(first.year, first.month)):
        return None
    return candidate if _explains(candidate, timestamps) else None


def _by_step(timestamps: Sequence[datetime]) -> Frequency | None:
    step = timestamps[1] - timestamps[0]
    candidate = Frequency(unit=Unit.FIXED, count=step // timedelta(microseconds=1))
    return candidate if _explains(candidate, timestamps) else None


def _by_business_days(timestamps: Sequence[datetime]) -> Frequency | None:
    if any(time.weekday() > FRIDAY for time in timestamps):
        return None
    candidate = Frequency(unit=Unit.BUSINESS_DAY, count=1)
    return candidate if _explains(candidate, timestamps) else None


def _explains(candidate: Frequency, timestamps: Sequence[datetime]) -> bool:
    try:
        return candidate.after(timestamps[0], len(timestamps) - 1) == list(timestamps[1:])
    except InputError:
        return False


def _irregular(timestamps: Sequence[datetime], field: str) -> InputError:
    step = timestamps[1] - timestamps[0]
    for index in range(2, len(timestamps)):
        other = timestamps[index] - timestamps[index - 1]
        if other != step:
            break
    return InputError(
        f"{field}[{index}]",
        "regular spacing (a point without a value is null, not left out)",
        f"a step of {other} after steps of {step}",
    )

"""Long frames of pandas, polars and pyarrow: series out of them, and forecasts back as the same.

A long frame has the columns `unique_id`, `ds` and `y` (the Nixtla convention), one row a point, in
any order. `ds` holds times or whole numbers; `y` may be missing, and so may whole rows: what lies
between two points on the grid of a series is a missing point.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xlstmd.errors import InputError
from xlstmd.models.calendar import Frequency, Unit, parse_freq
from xlstmd.models.columns import Clock, identities, numbers
from xlstmd.models.grid import (
    DAY,
    LARGEST_COUNT,
    LAST_TIME,
    Times,
    find_count,
    find_step,
    following,
    positions,
)
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast

ID: Final = "unique_id"
TIME: Final = "ds"
VALUE: Final = "y"
COLUMNS: Final = (ID, TIME, VALUE)

# Points of all series together, the missing ones between far-off times included.
MOST_POINTS: Final = 50_000_000


class FrameKind(StrEnum):
    """Whose frame it is."""

    PANDAS = "pandas"
    POLARS = "polars"
    ARROW = "pyarrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the points of one series lie.

    Attributes:
      step: of its grid.
      is_wall: whether the step counts on the wall clock of the time zone, else in UTC.
      start: time of the first point, on that clock.
      last: time of the last point.
    """

    step: Frequency
    is_wall: bool
    start: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LongFrame:
    """The series of a long frame, and what is needed to write their forecasts likewise.

    Attributes:
      kind: of the frame that came in.
      ids: one for each of S series, by first appearance.
      histories: S arrays, oldest point first, NaN = missing.
      places: S of them.
      clock: of the column `ds`.
    """

    kind: FrameKind
    ids: pa.Array
    histories: tuple[FloatArray, ...]
    places: tuple[Place, ...]
    clock: Clock

    def history_times(self, index: int) -> pa.Array:
        """Gives the times of a series' points."""
        place = self.places[index]
        count = len(self.histories[index]) - 1
        later = following(place.start, place.step, count, limit=self._limit)
        return self.clock.column(np.concatenate([[place.start], later]), place.is_wall)

    def future_times(self, index: int, horizon: int) -> pa.Array:
        """Gives the times that follow a series."""
        place = self.places[index]
        later = following(place.last, place.step, horizon, limit=self._limit)
        return self.clock.column(later, place.is_wall)

    def all_future_times(self, horizon: int) -> pa.Array:
        """Gives the times that follow every series, one series after the other.

        Raises:
          InputError: a time cannot be written.
        """
        known: dict[tuple[int, Frequency], Times] = {}
        rows = np.empty((len(self.places), horizon), dtype=np.int64)
        for index, place in enumerate(self.places):
            key = (place.last, place.step)
            if key not in known:
                known[key] = following(place.last, place.step, horizon, limit=self._limit)
            rows[index] = known[key]
        is_wall = np.repeat([place.is_wall for place in self.places], horizon)
        return self.clock.column(rows.ravel(), is_wall)

    @property
    def _limit(self) -> int:
        return LARGEST_COUNT if self.clock.is_count else LAST_TIME


def from_frame(frame: Any, *, freq: str | None = None, field: str = "frame") -> LongFrame:
    """Reads a long frame.

    Args:
      frame: a pandas or polars DataFrame, or a pyarrow Table; not modified.
      freq: of all series, for example `h`, or a whole number where `ds` is one; None finds it for
        each series from its times.
      field: what to call the frame in errors.

    Raises:
      InputError: columns or values that cannot be used, a time twice in a series, times on no
        grid, a series without an observed value.
    """
    kind = _kind_of(frame, field)
    raw = _columns_of(frame, kind, field)
    codes, ids = identities(raw[ID], f"{field}.{ID}")
    values = numbers(raw[VALUE], f"{field}.{VALUE}")
    clock = Clock.of(raw[TIME], f"{field}.{TIME}")
    given = None if freq is None else _given(freq, clock)
    if not len(ids):
        raise InputError(field, "at least one row", "none", code="empty")
    order = np.lexsort((clock.utc, codes))
    series = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    reader = _Reader(ids=ids, clock=clock, field=field)
    reader.check_once(order, codes)
    layouts = [reader.layout(index, rows, given) for index, rows in enumerate(series)]
    reader.check_size(layouts)
    places = reader.places(layouts)
    histories = [
        reader.history(index, layout, values[layout.rows]) for index, layout in enumerate(layouts)
    ]
    return LongFrame(
        kind=kind, ids=ids, histories=tuple(histories), places=tuple(places), clock=clock
    )


def to_frame(frame: LongFrame, forecast: QuantileForecast) -> Any:
    """Writes forecasts as a frame of the kind that came in.

    Args:
      frame: whose series were forecast, all of them and in their order.
      forecast: S rows.

    Returns:
      `unique_id`, `ds`, `mean` and a column for each level (`q0.1`); a series' rows in the order
      of time.

    Raises:
      InputError: a level twice, or a time that cannot be written.
    """
    count, horizon = forecast.mean.shape
    columns = {
        ID: frame.ids.take(pa.array(np.repeat(np.arange(count), horizon))),
        TIME: frame.all_future_times(horizon),
        "mean": pa.array(forecast.mean.ravel()),
    }
    for index, level in enumerate(forecast.quantile_levels):
        name = level_name(level)
        if name in columns:
            raise InputError(f"quantile_levels[{index}]", "each level once", f"{level} again")
        columns[name] = pa.array(forecast.quantiles[:, :, index].ravel())
    table = pa.table(columns)
    match frame.kind:
        case FrameKind.PANDAS:
            return table.to_pandas(date_as_object=False)
        case FrameKind.POLARS:
            import polars

            return polars.from_arrow(table)
        case FrameKind.ARROW:
            return table


def level_name(level: float) -> str:
    """Gives the name of a level's column."""
    return f"q{float(level)!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """The rows of a series in the order of time, and their places on its grid."""

    rows: NDArray[np.intp]
    positions: Times
    step: Frequency | None
    is_wall: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Puts rows on the grids of their series, and names them in errors."""

    ids: pa.Array
    clock: Clock
    field: str

    def check_once(self, order: NDArray[np.intp], codes: NDArray[np.int64]) -> None:
        same = (np.diff(codes[order]) == 0) & (np.diff(self.clock.utc[order]) == 0)
        if same.any():
            # Of the pair, the row that comes later in the frame is the surplus one.
            place = int(same.argmax())
            row = int(max(order[place], order[place + 1]))
            raise self._refusal(row, int(codes[row]), "each time once in a series", " again")

    def layout(self, index: int, rows: NDArray[np.intp], given: Frequency | None) -> _Layout:
        if given is not None:
            is_wall = self.clock.has_zone and _counts_days(given)
            places = positions(self.clock.times(is_wall)[rows], given)
            is_off = places < 0
            # An hour that the wall clock shows twice may hold two times of one day.
            is_off[1:] |= np.diff(places) <= 0
            if is_off.any():
                name = str(given.count) if self.clock.is_count else given.name
                row = int(rows[is_off.argmax()])
                raise self._refusal(row, index, f"times on a grid of {name}")
            return _Layout(rows=rows, positions=places, step=given, is_wall=is_wall)
        if len(rows) == 1:
            return _Layout(rows=rows, positions=np.zeros(1, np.int64), step=None, is_wall=False)
        return self._found(index, rows)

    def _found(self, index: int, rows: NDArray[np.intp]) -> _Layout:
        """Tries the wall clock first: a day there may have 23 or 25 hours."""
        for is_wall in (True, False) if self.clock.has_zone else (False,):
            times = self.clock.times(is_wall)[rows]
            if (np.diff(times) <= 0).any():
                continue
            step = find_count(times) if self.clock.is_count else find_step(times)
            if step is None or (is_wall and not _counts_days(step)):
                continue
            places = positions(times, step)
            if (places >= 0).all():
                return _Layout(rows=rows, positions=places, step=step, is_wall=is_wall)
        times = self.clock.utc[rows]
        row = int(rows[(positions(times, find_count(times)) < 0).argmax()])
        raise self._refusal(row, index, "regular spacing (points may be left out), or freq")

    def check_size(self, layouts: Sequence[_Layout]) -> None:
        points = sum(int(layout.positions[-1]) + 1 for layout in layouts)
        if points > MOST_POINTS:
            got = f"{points}, as times lie so far apart"
            raise InputError(f"{self.field}.{TIME}", f"at most {MOST_POINTS} points", got)

    def places(self, layouts: Sequence[_Layout]) -> Iterator[Place]:
        """Gives the places; a series of one point has the step of the others."""
        known = {(layout.step, layout.is_wall) for layout in layouts if layout.step}
        if not known and self.clock.is_count:
            known = {(Frequency(unit=Unit.FIXED, count=1), False)}
        for index, layout in enumerate(layouts):
            if layout.step is None and len(known) != 1:
                row = int(layout.rows[0])
                raise self._refusal(row, index, "two times or more, or freq", " alone")
            step, is_wall = layout.step, layout.is_wall
            if step is None:
                step, is_wall = next(iter(known))
            times = self.clock.times(is_wall)[layout.rows]
            yield Place(step=step, is_wall=is_wall, start=int(times[0]), last=int(times[-1]))

    def history(self, index: int, layout: _Layout, values: FloatArray) -> FloatArray:
        if np.isnan(values).all():
            got = f"{len(values)} missing values in series {self._name(index)}"
            raise InputError(
                f"{self.field}.{VALUE}", "at least one observed value", got, code="empty"
            )
        history = np.full(int(layout.positions[-1]) + 1, np.nan)
        history[layout.positions] = values
        return history

    def _name(self, index: int) -> str:
        return repr(self.ids[index].as_py())

    def _refusal(self, row: int, index: int, expected: str, comment: str = "") -> InputError:
        got = f"{self.clock.show(row)}{comment} in series {self._name(index)}"
        return InputError(f"{self.field}.{TIME}[{row}]", expected, got)


def _counts_days(step: Frequency) -> bool:
    return step.unit is not Unit.FIXED or step.count % DAY == 0


def _given(freq: str, clock: Clock) -> Frequency:
    if not clock.is_count:
        return parse_freq(freq)
    if not (freq.isascii() and freq.isdigit() and 0 < int(freq) <= LARGEST_COUNT):
        raise InputError("freq", "a whole number, as ds holds whole numbers", repr(freq[:40]))
    return Frequency(unit=Unit.FIXED, count=int(freq))


def _kind_of(frame: Any, field: str) -> FrameKind:
    """Recognizes a frame without importing its library: who made it has done so."""
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(frame, pandas.DataFrame):
        return FrameKind.PANDAS
    if polars is not None and isinstance(frame, polars.DataFrame):
        return FrameKind.POLARS
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return FrameKind.ARROW
    got = f"{type(frame).__module__}.{type(frame).__qualname__}"
    raise InputError(field, "a pandas, polars or pyarrow table", got, code="bad_type")


def _columns_of(frame: Any, kind: FrameKind, field: str) -> dict[str, pa.Array]:
    if kind is FrameKind.PANDAS and ID not in frame.columns and ID in frame.index.names:
        frame = frame.reset_index()
    names = list(frame.column_names if kind is FrameKind.ARROW else frame.columns)
    if any(names.count(name) != 1 for name in COLUMNS):
        got = ", ".join(map(str, names))[:80] or "none"
        expected = f"{', '.join(COLUMNS)}, each once"
        raise InputError(f"{field}.columns", expected, got, code="missing_field")
    columns = {}
    for name in COLUMNS:
        try:
            match kind:
                case FrameKind.PANDAS:
                    column = pa.array(frame[name], from_pandas=True)
                case FrameKind.POLARS:
                    column = frame[name].to_arrow()
                case FrameKind.ARROW:
                    column = frame.column(name)
        except pa.ArrowException as error:
            got = " ".join(str(error).split())[:80]
            expected = "values of one type"
            raise InputError(f"{field}.{name}", expected, got, code="bad_type") from None
        columns[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return columns

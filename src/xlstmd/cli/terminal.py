"""Forecasts on a terminal: a table of the first series each, and a chart of the very first."""

import sys
from typing import Any, Final

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xlstmd.cli.chart import Line, draw_chart
from xlstmd.models.frames import TIME, LongFrame
from xlstmd.models.quantile_forecast import QuantileForecast

MOST_SERIES: Final = 3
MOST_STEPS: Final = 12
MOST_LEVELS: Final = 5
CHART_WIDTH: Final = 100
CHART_HEIGHT: Final = 16
HISTORY_HORIZONS: Final = 4
SHORTEST_HISTORY: Final = 48
BAND_COLOR: Final = "\x1b[36m"
MEDIAN_COLOR: Final = "\x1b[1;32m"


def show(series: LongFrame, forecast: QuantileForecast, table: pa.Table, identity: str) -> None:
    """Prints the first series' forecasts, and draws the first one.

    Args:
      series: that were forecast.
      forecast: of all of them.
      table: the same as a long table.
      identity: of the model.
    """
    console = Console()
    count, horizon = forecast.mean.shape
    for index in range(min(count, MOST_SERIES)):
        title = f"{series.ids[index].as_py()}, forecast by {identity}"
        console.print(_table(table.slice(index * horizon, horizon), title))
    if count > MOST_SERIES:
        console.print(f"{count - MOST_SERIES} more series; --output writes them all")
    sys.stdout.write(chart(series, forecast, console.width, is_colored=console.is_terminal))


def chart(series: LongFrame, forecast: QuantileForecast, width: int, *, is_colored: bool) -> str:
    """Gives a chart of the first series: history, median and the outermost levels.

    Args:
      series: that were forecast.
      forecast: of all of them.
      width: of the terminal, in characters.
      is_colored: whether it can show colors.
    """
    horizon = forecast.mean.shape[1]
    history = series.histories[0][-max(HISTORY_HORIZONS * horizon, SHORTEST_HISTORY) :]
    levels = forecast.quantile_levels
    low, high = levels.index(min(levels)), levels.index(max(levels))
    lines = [Line(start=0, values=history.tolist())]
    for column, color in (
        (forecast.quantiles[0, :, low], BAND_COLOR),
        (forecast.quantiles[0, :, high], BAND_COLOR),
        (forecast.median[0], MEDIAN_COLOR),
    ):
        lines.append(Line(start=len(history), values=column.tolist(), color=color))
    past, future = series.history_times(0), series.future_times(0, horizon)
    labels = [_text(past[len(past) - len(history)]), _text(future[horizon - 1])]
    title = f"history, median, and quantiles {levels[low]:g} and {levels[high]:g}"
    size = (min(width, CHART_WIDTH), CHART_HEIGHT)
    drawn = draw_chart(lines, labels, *size, is_colored=is_colored)
    return f"{series.ids[0].as_py()}: {title}\n{drawn}\n"


def _table(rows: pa.Table, title: str) -> Table:
    names = [name for name in rows.column_names if name.startswith("q")]
    middle = names[len(names) // 2]
    shown = names if len(names) <= MOST_LEVELS else [names[0], middle, names[-1]]
    table = Table(title=escape(title), title_justify="left")
    table.add_column(TIME)
    for name in ("mean", *shown):
        table.add_column(name, justify="right")
    for row in rows.slice(0, MOST_STEPS).to_pylist():
        numbers = (f"{row[name]:.6g}" for name in ("mean", *shown))
        table.add_row(_text(row[TIME]), *numbers)
    if rows.num_rows > MOST_STEPS:
        table.caption = f"{rows.num_rows - MOST_STEPS} more steps"
    return table


def _text(time: Any) -> str:
    plain = time.as_py() if isinstance(time, pa.Scalar) else time
    return str(plain).removesuffix(" 00:00:00")

"""`xlstmd forecast`: the series of a file in, their forecasts to a file or the terminal out."""

import argparse
from collections.abc import Sequence
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xlstmd.cli.options import UsageError
from xlstmd.cli.tables import FIELD, check_output, read_series, write_table
from xlstmd.errors import InputError
from xlstmd.models.calendar import parse_freq
from xlstmd.models.forecaster import load_forecaster
from xlstmd.models.frames import from_frame, to_frame
from xlstmd.models.predictor import Predictor
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast

SERIES_A_CALL: Final = 128


def run(arguments: argparse.Namespace) -> None:
    """Reads, forecasts and writes.

    Raises:
      UsageError: options that cannot be meant.
      InputError: the file's series cannot be used.
      XlstmdError: the model cannot be used.
      OSError: the output cannot be written.
    """
    _check(arguments)
    series = from_frame(
        read_series(arguments.input, arguments.column), freq=arguments.freq, field=FIELD
    )
    forecaster = load_forecaster(arguments.model, precision=arguments.precision or "float32")
    forecast = forecast_all(forecaster, series.histories, arguments.horizon, arguments.quantiles)
    table = to_frame(series, forecast)
    if arguments.plot:
        from xlstmd.cli.picture import draw

        draw(series, forecast, arguments.plot)
    if arguments.output:
        write_table(table, arguments.output)
    else:
        from xlstmd.cli.terminal import show

        show(series, forecast, table, forecaster.identity)


def forecast_all(
    forecaster: Predictor,
    histories: Sequence[FloatArray],
    horizon: int,
    quantile_levels: Sequence[float],
) -> QuantileForecast:
    """Forecasts any number of series, with a bar on stderr when it takes several calls."""
    starts = range(0, len(histories), SERIES_A_CALL)
    console = Console(stderr=True)
    columns = (TextColumn("series"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    parts = []
    with Progress(*columns, console=console, disable=len(starts) < 2) as bar:
        task = bar.add_task("series", total=len(histories))
        for start in starts:
            some = histories[start : start + SERIES_A_CALL]
            parts.append(forecaster.forecast(some, horizon, quantile_levels))
            bar.update(task, advance=len(some))
    return QuantileForecast(
        mean=np.concatenate([part.mean for part in parts]),
        median=np.concatenate([part.median for part in parts]),
        quantiles=np.concatenate([part.quantiles for part in parts]),
        quantile_levels=parts[0].quantile_levels,
        mean_method=parts[0].mean_method,
    )


def _check(arguments: argparse.Namespace) -> None:
    """Refuses before the work what would be refused after it."""
    if arguments.output:
        check_output(arguments.output)
    if arguments.plot:
        from xlstmd.cli.picture import check_picture

        check_picture(arguments.plot)
    if arguments.freq and not arguments.freq.isdigit():
        try:
            parse_freq(arguments.freq, field="--freq")
        except InputError as error:
            raise UsageError(str(error)) from None

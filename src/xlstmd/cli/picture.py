"""Forecasts as a picture: a panel for each of the first series."""

from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from xlstmd.cli.options import UsageError
from xlstmd.models.frames import LongFrame
from xlstmd.models.quantile_forecast import QuantileForecast

ENDINGS: Final = (".png", ".svg", ".pdf")
MOST_PANELS: Final = 6
PANEL_INCHES: Final = (9.0, 3.0)

# History beside the forecast: a few times the horizon, so that both can be seen.
HISTORY_HORIZONS: Final = 5
SHORTEST_HISTORY: Final = 60


def check_picture(target: str) -> None:
    """Refuses a kind of picture that cannot be drawn.

    Raises:
      UsageError: another ending.
    """
    if Path(target).suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot: expected a name ending in {', '.join(ENDINGS)}, got {target}")


def history_shown(horizon: int) -> int:
    """Gives how many points of history are drawn beside a forecast."""
    return max(HISTORY_HORIZONS * horizon, SHORTEST_HISTORY)


def draw(series: LongFrame, forecast: QuantileForecast, target: str) -> None:
    """Draws history, median, mean and bands.

    Raises:
      OSError: the picture cannot be written.
    """
    panels = min(len(series.histories), MOST_PANELS)
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width, height * panels), layout="constrained")
    for index in range(panels):
        axes = figure.add_subplot(panels, 1, index + 1)
        _draw_panel(axes, series, forecast, index)
        if index == 0:
            axes.legend(loc="upper left", fontsize="small")
    figure.savefig(target, dpi=120)


def _draw_panel(axes: Any, series: LongFrame, forecast: QuantileForecast, index: int) -> None:
    horizon = forecast.mean.shape[1]
    shown = history_shown(horizon)
    past = series.history_times(index).to_numpy(zero_copy_only=False)[-shown:]
    future = series.future_times(index, horizon).to_numpy(zero_copy_only=False)
    axes.plot(past, series.histories[index][-shown:], color="0.25", linewidth=1.0, label="history")
    levels = sorted(range(len(forecast.quantile_levels)), key=forecast.quantile_levels.__getitem__)
    quantiles = forecast.quantiles[index]
    # Pairs from the outside in; each is drawn over the wider one.
    for low, high in zip(levels[: len(levels) // 2], reversed(levels), strict=False):
        names = (forecast.quantile_levels[low], forecast.quantile_levels[high])
        # One entry of the legend will do: the inner bands have the same color, only darker.
        label = f"{names[0]:g} to {names[1]:g}" if low == levels[0] else None
        axes.fill_between(
            future,
            quantiles[:, low],
            quantiles[:, high],
            color="C0",
            alpha=0.18,
            linewidth=0,
            label=label,
        )
    axes.plot(future, forecast.median[index], color="C0", linewidth=1.5, label="median")
    axes.plot(future, forecast.mean[index], color="C1", linewidth=1.0, linestyle="--", label="mean")
    axes.set_title(str(series.ids[index].as_py()), fontsize="medium", loc="left")
    axes.grid(alpha=0.3)

"""The loss curve of a run as a picture."""

import csv
from pathlib import Path


def draw_curve(table: Path, picture: Path) -> None:
    """Draws the loss over the samples.

    Args:
      table: CSV with the columns `samples` and `loss`.
      picture: PNG to write.
    """
    from matplotlib.figure import Figure

    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    samples = [float(row["samples"]) for row in rows]
    losses = [float(row["loss"]) for row in rows]
    width = max(len(losses) // 50, 1)
    smooth = [
        sum(losses[max(i - width, 0) : i + 1]) / len(losses[max(i - width, 0) : i + 1])
        for i in range(len(losses))
    ]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(samples, losses, linewidth=0.5, alpha=0.4, label="mean of 50 steps")
    axes.plot(samples, smooth, linewidth=1.5, label="smoothed")
    axes.set(xlabel="training series", ylabel="pinball loss (x2)", yscale="log")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=120)

"""Bars: how many times faster than the official code, at the goals' setting and its fastest."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Row

COLORS = {"fp32": "#1b6ca8", "bf16": "#5aa9a3", "int8": "#c98b2c"}
OTHER = "#888888"

# A longer bar has its figure inside.
ROOM_FOR_TEXT = 2.0


def charted(rows: Sequence[Row]) -> list[Row]:
    """Gives the ratios that have a goal, and that to the fastest peer of each work."""
    ratios = [row for row in rows if row.unit == "ratio" and row.parity is not None]
    least: dict[str, Row] = {}
    for row in ratios:
        work = row.id.partition(f"-{precision_of(row)}-")[0] + precision_of(row)
        if work not in least or row.value < least[work].value:
            least[work] = row
    hardest = {row.id for row in least.values()}
    return [row for row in ratios if row.goal is not None or row.id in hardest]


def draw_chart(rows: Sequence[Row], machine: str, path: Path) -> Path | None:
    """Draws bars on a log scale, paler ones for settings without a goal, and gives the path.

    Args:
      rows: all figures.
      machine: named under the title.
      path: of a PNG; its folder is made.

    Returns:
      None where there is nothing to draw.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    shown = charted(rows)
    if not shown:
        return None
    figure, axes = pyplot.subplots(figsize=(9.5, 1.6 + 0.29 * len(shown)), layout="constrained")
    places = range(len(shown), 0, -1)
    for place, row in zip(places, shown, strict=True):
        _draw_bar(axes, place, row)
    axes.set_xscale("log")
    largest = max(max(row.value, row.goal or 0.0) for row in shown)
    axes.set_xlim(min(1.0, *(row.value for row in shown)) * 0.8, largest * 1.6)
    axes.axvline(1.0, color="black", lw=0.8, zorder=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_yticks(list(places), [label(row) for row in shown], fontsize=8)
    axes.set_ylim(0.3, len(shown) + 0.7)
    axes.grid(axis="x", color="#dddddd", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        f"Times faster than the official code, same weights and inputs\n{machine}",
        fontsize=10,
        loc="left",
    )
    used = {precision_of(row) for row in shown}
    handles = [Patch(color=color, label=name) for name, color in COLORS.items() if name in used]
    figure.legend(handles=[*handles, _goal_mark()], loc="outside lower center", ncols=4, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return path


def _draw_bar(axes: Any, place: int, row: Row) -> None:
    color = COLORS.get(precision_of(row), OTHER)
    alpha = 0.6 if row.goal is None else 1.0
    axes.barh(place, row.value - 1.0, left=1.0, color=color, alpha=alpha, height=0.72, zorder=2)
    if row.goal is not None:
        ends = [place - 0.42, place + 0.42]
        axes.plot([row.goal] * 2, ends, color="black", lw=1.8, zorder=4)
    inside = row.value > ROOM_FOR_TEXT
    axes.annotate(
        f"{row.value:.3g}×",
        (1.0 if inside else max(row.value, 1.0), place),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color="white" if inside else "black",
        fontsize=8,
        zorder=3,
    )


def precision_of(row: Row) -> str:
    """Gives the precision that is part of a row's id."""
    return next((part for part in row.id.split("-") if part in COLORS), "")


def label(row: Row) -> str:
    """Gives the work and the peer, for people."""
    work, _, peer = row.id.partition(f"-{precision_of(row)}-")
    package = (row.peer_name or "").split(" ")[0]
    how = " compiled" if "compiled" in peer or "frozen" in peer else ""
    how += " bf16" if "bf16" in peer else ""
    return f"{work}  vs {package}{how}"


def _goal_mark() -> object:
    from matplotlib.lines import Line2D

    return Line2D([], [], color="black", lw=1.6, marker="|", linestyle="none", label="goal")

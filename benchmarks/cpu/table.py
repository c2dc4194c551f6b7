"""All figures as one table."""

from collections.abc import Sequence

from rich.table import Table

from benchmarks.harness import Row, number

TITLE = (
    "ratios: how many times faster than the peer; ours, peer: ms; "
    "error: of ours, in spreads of the official result"
)


def cpu_table(rows: Sequence[Row]) -> Table:
    """Lays rows out, a line each, with the error and the share of the machine's limit."""
    shares = {row.id.removesuffix("-of-limit"): row for row in rows if row.unit == "%"}
    table = Table(title=TITLE, title_justify="left")
    table.add_column("id", no_wrap=True)
    for heading in ("value", "spread", "goal", "ours", "peer", "error", "of limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("peer is")
    for row in rows:
        if row.unit == "%":
            continue
        style = {True: "green", False: "red", None: None}[row.reached]
        spread = "" if row.spread is None else " … ".join(number(edge) for edge in row.spread)
        goal = "" if row.goal is None else f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g}"
        error = "" if row.parity is None else f"{row.parity:.0e}"
        share = next(
            (limit for prefix, limit in shares.items() if row.id.startswith(f"{prefix}-")), None
        )
        table.add_row(
            row.id,
            number(row.value),
            spread,
            goal,
            number(row.ours),
            number(row.peer),
            error,
            "" if share is None else f"{share.value:.0f} %",
            row.unit,
            row.peer_name or "",
            style=style,
        )
    return table


def limits_lines(rows: Sequence[Row]) -> list[str]:
    """Says for each share of a limit what that limit is."""
    return [
        f"{row.id.removesuffix('-of-limit')}: {row.value:.0f} % of what is possible "
        f"({number(row.peer)} ms, {row.peer_name})"
        for row in rows
        if row.unit == "%"
    ]

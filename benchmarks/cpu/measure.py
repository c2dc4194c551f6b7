"""From a piece of work to rows: parity first, then time, then ratios and shares of the limits."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from benchmarks.cpu.limits import Limits
from benchmarks.cpu.parity import difference, require
from benchmarks.cpu.timing import Budget, Timing, interleave
from benchmarks.cpu.workload import BEST, PEER_TOLERANCE, TOLERANCE, Candidate, Precision, Work
from benchmarks.harness import BenchmarkError, Row

MS = 1e3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of some work.

    Args:
      rows: figures.
      notes: why a figure is missing.
    """

    rows: list[Row]
    notes: list[str]


def measure(work: Work, budget: Budget, limits: Limits | None, threads: int) -> Outcome:
    """Compares results, times who computed the same, and gives the rows."""
    notes = list(work.notes)
    with torch.inference_mode(not work.gradients), torch.set_grad_enabled(work.gradients):
        reference = work.reference()
        peers = {peer.label: peer for peer in work.peers if _runs(peer, reference, notes)}
        errors: dict[Precision, float] = {}
        for precision, candidate in work.ours.items():
            assert candidate.check is not None
            error = difference(candidate.check(), reference)
            try:
                require(f"ours, {precision}", error, TOLERANCE[precision])
            except BenchmarkError as refused:
                notes.append(str(refused))
            else:
                errors[precision] = error
        calls = {label: peer.run for label, peer in peers.items()}
        calls |= {precision: work.ours[precision].run for precision in errors}
        timings = interleave(calls, budget)
    best = fastest(peers, timings)
    rows = [
        ratio_row(work, precision, error, peer, timings, is_best=peer.label == best)
        for precision, error in errors.items()
        for peer in peers.values()
    ]
    if limits is not None:
        rows += limit_rows(work, list(errors), timings, limits, threads)
    if not errors:
        rows += [peer_row(work, peer, timings) for peer in peers.values()]
    return Outcome(rows, [f"{work.id}: {note}" for note in notes])


def fastest(peers: Mapping[str, Candidate], timings: Mapping[str, Timing]) -> str | None:
    """Gives the label of the fastest peer that computes the same function."""
    same = [label for label, peer in peers.items() if peer.check is not None]
    return min(same, key=lambda label: timings[label].median, default=None)


def ratio_row(
    work: Work,
    precision: Precision,
    error: float,
    peer: Candidate,
    timings: Mapping[str, Timing],
    *,
    is_best: bool = False,
) -> Row:
    """Gives how many times faster than a peer we are."""
    goal = work.goals.get((precision, peer.label))
    if goal is None and is_best:
        goal = work.goals.get((precision, BEST))
    value, spread = timings[precision].times_faster(timings[peer.label])
    same = peer.check is not None
    return Row(
        id=f"{work.id}-{precision}-{peer.label}",
        value=value,
        unit="ratio",
        better="higher",
        goal=goal,
        ours=timings[precision].median * MS,
        peer=timings[peer.label].median * MS,
        peer_name=peer.name,
        spread=spread,
        parity=error if same else None,
        tolerance=TOLERANCE[precision] if same else None,
    )


def peer_row(work: Work, peer: Candidate, timings: Mapping[str, Timing]) -> Row:
    """Gives a peer's time, where there is nothing of ours to compare it with."""
    timing = timings[peer.label]
    low, high = timing.quartiles
    return Row(
        id=f"{work.id}-{peer.label}",
        value=timing.median * MS,
        unit="ms",
        better="lower",
        peer=timing.median * MS,
        peer_name=peer.name,
        spread=(low * MS, high * MS),
    )


def limit_rows(
    work: Work,
    precisions: list[Precision],
    timings: Mapping[str, Timing],
    limits: Limits,
    threads: int,
) -> list[Row]:
    """Gives how much of the machine's limit we reach, where one can be computed."""
    rows = []
    for precision in precisions:
        bound = None if work.cost is None else limits.bound(work.cost, precision, threads)
        if bound is None:
            continue
        seconds, what = bound
        ours = timings[precision]
        low, high = ours.quartiles
        rows.append(
            Row(
                id=f"{work.id}-{precision}-of-limit",
                value=100.0 * seconds / ours.median,
                unit="%",
                better="higher",
                ours=ours.median * MS,
                peer=seconds * MS,
                peer_name=f"limit here: {what}",
                spread=(100.0 * seconds / high, 100.0 * seconds / low),
            )
        )
    return rows


def _runs(peer: Candidate, reference: object, notes: list[str]) -> bool:
    """Says whether a peer runs here and gives the official result; compiles it where it must be."""
    try:
        if peer.check is None:
            peer.run()
            return True
        require(peer.name, difference(peer.check(), reference), PEER_TOLERANCE)
        peer.run()
    except Exception as error:  # a compiler's failures have no common base
        lines = str(error).strip().splitlines() or [""]
        notes.append(f"{peer.name} left out: {type(error).__name__}: {lines[0][:200]}")
        return False
    return True

"""Which problems the native library takes."""

from xlstmd.ops.native import load_native
from xlstmd.ops.selection import Problem, full_precision_only


def refuses(problem: Problem) -> str | None:
    """Gives the reason why no native form can run a problem, or None."""
    reason = full_precision_only(problem)
    if reason is not None:
        return reason
    if problem.device != "cpu":
        return f"runs on a cpu, got {problem.device}"
    native = load_native()
    return None if native.library is not None else f"native library {native.reason}"

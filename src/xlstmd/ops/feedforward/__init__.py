"""The gated feed-forward layer: all its implementations, best first, the definition last.

It has no state; `sequence` and `step` are the same function.
"""

from xlstmd.ops.native_problem import refuses
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(name="native", module="xlstmd.ops.feedforward.native", refuses=refuses),
    Implementation(
        name="reference",
        module="xlstmd.ops.feedforward.reference",
        refuses=full_precision_only,
    ),
)

"""Layer and RMS norm over the last axis: all implementations, best first, the definition last.

They have no state; `sequence` and `step` are the same function.
"""

from xlstmd.ops.native_problem import refuses
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(name="native", module="xlstmd.ops.norm.native", refuses=refuses),
    Implementation(
        name="reference",
        module="xlstmd.ops.norm.reference",
        refuses=full_precision_only,
    ),
)

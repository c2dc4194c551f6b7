"""Linear maps with diagonal blocks, several side by side: all implementations, best first.

They have no state; `sequence` and `step` are the same function. The definition comes last.
"""

from xlstmd.ops.native_problem import refuses
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(name="native", module="xlstmd.ops.headwise.native", refuses=refuses),
    Implementation(
        name="reference",
        module="xlstmd.ops.headwise.reference",
        refuses=full_precision_only,
    ),
)

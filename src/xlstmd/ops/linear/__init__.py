"""The linear map y = x W^T + b: all its implementations, best first, the definition last.

It has no state; `sequence` and `step` are the same function.
"""

from xlstmd.ops.native_problem import refuses
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(name="native", module="xlstmd.ops.linear.native", refuses=refuses),
    Implementation(
        name="reference",
        module="xlstmd.ops.linear.reference",
        refuses=full_precision_only,
    ),
)

"""The causal depthwise convolution: all its implementations, best first, the definition last."""

from xlstmd.ops import native_problem
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(
        name="native",
        module="xlstmd.ops.conv.native",
        refuses=native_problem.refuses,
    ),
    Implementation(
        name="vectorized",
        module="xlstmd.ops.conv.vectorized",
        refuses=full_precision_only,
    ),
    Implementation(
        name="reference",
        module="xlstmd.ops.conv.reference",
        refuses=full_precision_only,
    ),
)

"""The matrix memory: all its implementations, best first, the definition last."""

from xlstmd.ops import native_problem
from xlstmd.ops.selection import Implementation, full_precision_only

IMPLEMENTATIONS = (
    Implementation(
        name="native",
        module="xlstmd.ops.mlstm.native",
        refuses=native_problem.refuses,
    ),
    Implementation(
        name="chunkwise",
        module="xlstmd.ops.mlstm.chunkwise",
        refuses=full_precision_only,
    ),
    Implementation(
        name="parallel",
        module="xlstmd.ops.mlstm.parallel",
        refuses=full_precision_only,
    ),
    Implementation(
        name="reference",
        module="xlstmd.ops.mlstm.reference",
        refuses=full_precision_only,
    ),
)

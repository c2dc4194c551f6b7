"""mLSTM in chunks: parallel inside a chunk, recurrent across chunks; linear in T.

Source: xLSTM 7B / TFLA, arXiv:2503.14376, section on the chunkwise form; the chunk itself is the
parallel form with the memory passed in.
"""

import torch

from xlstmd.ops.mlstm import parallel, reference
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.state import MLSTMState
from xlstmd.shapes import GatePreacts, Queries, StepMask, Values

CHUNK_LENGTH = 64

init = MLSTMState.zeros
step = reference.step


def sequence(
    q: Queries,
    k: Queries,
    v: Values,
    i_preact: GatePreacts,
    f_preact: GatePreacts,
    state: MLSTMState,
    options: MLSTMOptions,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
    chunk_length: int = CHUNK_LENGTH,
) -> tuple[Values, MLSTMState]:
    """Runs the matrix memory over a sequence; as the reference, whatever the chunk length."""
    if q.shape[2] <= chunk_length:
        return parallel.sequence(q, k, v, i_preact, f_preact, state, options, reset, valid)
    outputs = []
    for start in range(0, q.shape[2], chunk_length):
        span = slice(start, start + chunk_length)
        h, state = parallel.sequence(
            q[:, :, span],
            k[:, :, span],
            v[:, :, span],
            i_preact[:, :, span],
            f_preact[:, :, span],
            state,
            options,
            None if reset is None else reset[:, span],
            None if valid is None else valid[:, span],
        )
        outputs.append(h)
    return torch.cat(outputs, dim=2), state

"""What of a reply cannot be had from the state again: kept with the session for a retry."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xlstmd.engine.policy_reply import FORM, PolicyReply, read_policy_reply
from xlstmd.engine.session_payload import pack_arrays, unpack_arrays
from xlstmd.errors import SnapshotDamaged
from xlstmd.models.anomaly_scores import AnomalyScores


class Reply(Protocol):
    """What is kept of a reply, whatever surface it is of."""

    @property
    def count(self) -> int:
        """How many numbers (`seq`) the request has taken."""

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""

    def pack(self) -> bytes:
        """Writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReply:
    """The reply to the last request that advanced a stream, without its forecast.

    The forecast is computed again from the state, to the same bits.

    Args:
      observed: points since the first observed one.
      scores: of the request's points; None where none were asked for.
    """

    observed: int
    scores: AnomalyScores | None

    @property
    def count(self) -> int:
        """One: that of the request."""
        return 1

    @property
    def nbytes(self) -> int:
        """Bytes of the scores."""
        scores = self.scores
        if scores is None:
            return 0
        return scores.quantile.nbytes + scores.surprise.nbytes + scores.flag.nbytes

    def pack(self) -> bytes:
        """Writes it."""
        arrays = {"observed": np.array([self.observed], dtype=np.int64)}
        if self.scores is None:
            return pack_arrays(arrays)
        scores = {
            "quantile": self.scores.quantile,
            "surprise": self.scores.surprise,
            "flag": self.scores.flag,
        }
        return pack_arrays(arrays | scores)


def unpack_reply(reply: bytes) -> SessionReply | PolicyReply:
    """Reads what `SessionReply.pack` or `PolicyReply.pack` has written.

    Raises:
      SnapshotDamaged: the bytes are something else.
    """
    arrays = unpack_arrays(reply)
    form = {name: (array.dtype.str, array.ndim) for name, array in arrays.items()}
    if form == FORM:
        return read_policy_reply(arrays)
    lengths = {len(array) for name, array in arrays.items() if name != "observed"}
    plain = {"observed": ("<i8", 1)}
    scored = plain | {"quantile": ("<f8", 1), "surprise": ("<f8", 1), "flag": ("|b1", 1)}
    if form not in (plain, scored) or len(lengths) > 1 or len(arrays["observed"]) != 1:
        raise SnapshotDamaged("a reply with the arrays of scores", f"{form}"[:80])
    scores = None
    if form == scored:
        scores = AnomalyScores(
            quantile=arrays["quantile"], surprise=arrays["surprise"], flag=arrays["flag"]
        )
    return SessionReply(observed=int(arrays["observed"][0]), scores=scores)

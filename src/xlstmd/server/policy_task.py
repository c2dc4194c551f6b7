"""A request for a policy as the engine wants it."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, cast

import msgspec
import numpy as np

from xlstmd.engine.policy_tasks import POLICY, OnDeadline, PolicyTask
from xlstmd.engine.session_record import SessionKey
from xlstmd.errors import InputError, LimitError, ShapeError
from xlstmd.models.calendar import parse_time
from xlstmd.server.append_task import HASH_BYTES, LARGEST_SEQ, TENANT
from xlstmd.server.arrays import FloatArray, read_binary
from xlstmd.server.decode import decode_policy_step
from xlstmd.server.media import Media
from xlstmd.server.policy_wire import ON_DEADLINE, PolicyStepRequest
from xlstmd.server.question import SHOWN, check_name
from xlstmd.server.session_wire import EVERY_STEP
from xlstmd.server.settings import Settings
from xlstmd.server.wire import ID_PATTERN, MODEL_PATTERN, BinaryArray

# Observations of one request: seconds of a lane, in which others have their turns.
MOST_OBSERVATIONS: Final = 10_000

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
NS_PER_MICROSECOND: Final = 1000


def read_policy_step(body: bytes, media: Media, limits: Settings) -> PolicyTask:
    """Decodes and checks a request; its deadline is still open.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
      LimitError: 413 `too_many_items`.
    """
    request = decode_policy_step(body, media)
    check_name(request.session, ID_PATTERN, "session")
    check_name(request.policy, MODEL_PATTERN, "policy")
    _check_seq(request)
    observations = _read_observations(request, limits)
    task = PolicyTask(
        key=SessionKey(TENANT, POLICY, request.session),
        seq=request.seq,
        observations=observations,
        policy=request.policy,
        is_replay=request.observations is not None,
        reset=request.reset,
        durable=request.durable is not None,
        observed_ns=_read_time(request.observed_at),
        max_age_ms=_read_ms(request.max_age_ms, "max_age_ms"),
        deadline_ms=_read_ms(request.deadline_ms, "deadline_ms"),
        on_deadline=_read_on_deadline(request.on_deadline),
    )
    return replace(task, request_hash=hash_of(task))


def hash_of(task: PolicyTask) -> bytes:
    """Gives what the same request has in common in every format.

    How long its answer may take is not part of it, nor is the name of the session.
    """
    words = (
        task.seq,
        task.observations.shape,
        task.policy,
        task.is_replay,
        task.reset,
        task.durable,
        task.observed_ns,
        task.max_age_ms,
    )
    whole = blake2b(msgspec.msgpack.encode(words), digest_size=HASH_BYTES)
    whole.update((task.observations + 0.0).astype("<f8").tobytes())
    return whole.digest()


def _check_seq(request: PolicyStepRequest) -> None:
    if not 1 <= request.seq <= LARGEST_SEQ:
        raise InputError("seq", "1 or more", str(request.seq)[:SHOWN])
    if request.durable not in (None, EVERY_STEP):
        raise InputError("durable", EVERY_STEP, repr(request.durable)[:SHOWN])
    if request.durable is not None and request.seq != 1:
        raise InputError("durable", "seq 1 beside it", str(request.seq))


def _read_observations(request: PolicyStepRequest, limits: Settings) -> FloatArray:
    one, several = request.observation, request.observations
    if several is None:
        if one is None:
            raise InputError("observation", "a value", "none", code="missing_field")
        if isinstance(one, BinaryArray):
            return read_binary(one, rank=1, field="observation")[None]
        return np.array(one, dtype=np.float64)[None]
    for name in ("observation", "observed_at", "max_age_ms"):
        if getattr(request, name) is not None:
            raise InputError(name, "nothing beside observations", "it", code="unknown_field")
    if isinstance(several, BinaryArray):
        table = read_binary(several, rank=2, field="observations")
    else:
        table = _table(several)
    most = min(MOST_OBSERVATIONS, limits.max_points)
    if len(table) > most:
        raise LimitError("observations", f"at most {most}", str(len(table)))
    if not len(table):
        raise InputError("observations", "at least one", "none", code="empty")
    return table


def _table(rows: list[list[float]]) -> FloatArray:
    width = len(rows[0]) if rows else 0
    for index, row in enumerate(rows):
        if len(row) != width:
            raise ShapeError(f"observations[{index}]", f"{width} numbers", str(len(row)))
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _read_time(text: str | None) -> int | None:
    if text is None:
        return None
    since = parse_time(text, field="observed_at") - EPOCH
    return NS_PER_MICROSECOND * (since // MICROSECOND)


def _read_ms(milliseconds: float | None, field: str) -> float | None:
    if milliseconds is not None and not 0.0 < milliseconds < math.inf:
        code = "out_of_range" if math.isfinite(milliseconds) else "non_finite"
        raise InputError(field, "a number above 0", str(milliseconds), code=code)
    return milliseconds


def _read_on_deadline(word: str | None) -> OnDeadline | None:
    if word not in (None, *ON_DEADLINE):
        raise InputError("on_deadline", " or ".join(ON_DEADLINE), repr(word)[:SHOWN])
    return cast(OnDeadline | None, word)

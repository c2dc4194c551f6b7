"""A request for a stream as the engine wants it."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np

from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_tasks import AppendTask
from xlstmd.engine.tasks import check_levels
from xlstmd.errors import InputError, LimitError
from xlstmd.models.calendar import format_time
from xlstmd.server.arrays import FloatArray, series_values
from xlstmd.server.decode import decode_append
from xlstmd.server.media import Media
from xlstmd.server.question import FIXED_ROWS, SHOWN, check_name, read_levels
from xlstmd.server.session_wire import EVERY_STEP, AppendRequest
from xlstmd.server.settings import Settings
from xlstmd.server.times import end_of, read_start
from xlstmd.server.wire import ID_PATTERN, MODEL_PATTERN

# Whose the sessions are while nobody has to say who they are.
TENANT: Final = "default"
SURFACE: Final = "forecast"

LARGEST_SEQ: Final = 2**63 - 1
HASH_BYTES: Final = 16

# What an entry of `anomaly` holds.
ANOMALY_NUMBERS: Final = 4

FIRST_ONLY: Final = ("start", "freq", "durable")


def read_append(body: bytes, media: Media, limits: Settings) -> AppendTask:
    """Decodes and checks a request; its deadline is still open.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
      LimitError: 413 `too_many_items`.
    """
    request = decode_append(body, media)
    check_name(request.session, ID_PATTERN, "session")
    if request.model is not None:
        check_name(request.model, MODEL_PATTERN, "model")
    values = series_values(request.append, field="append")
    if len(values) > limits.max_points:
        raise LimitError("append", f"at most {limits.max_points} points", str(len(values)))
    _check_seq(request, len(values))
    horizon = _read_horizon(request.horizon, limits)
    levels = read_levels(request.quantile_levels, limits)
    check_levels(levels)
    task = AppendTask(
        key=SessionKey(TENANT, SURFACE, request.session),
        seq=request.seq,
        values=values,
        horizon=horizon,
        quantile_levels=levels,
        anomaly_rate=_read_rate(request.anomaly_rate),
        model=request.model,
        reset=request.reset,
        durable=_read_durable(request.durable),
        facts=_read_facts(request, values, horizon),
    )
    if numbers_of(task) > limits.max_answer_numbers:
        expected = f"at most {limits.max_answer_numbers} numbers in the answer"
        raise LimitError("horizon", expected, str(numbers_of(task)))
    return replace(task, request_hash=hash_of(task))


def numbers_of(task: AppendTask) -> int:
    """Gives how many numbers the answer has."""
    entries = 0 if task.anomaly_rate is None else len(task.values)
    return ANOMALY_NUMBERS * entries + task.horizon * (len(task.quantile_levels) + FIXED_ROWS)


def hash_of(task: AppendTask) -> bytes:
    """Gives what the same request has in common in every format.

    Lists and arrays, JSON and MessagePack, a default and its absence: all mean the same. The name
    of the session is left out, so that a request can be repeated to one that came by another name.
    """
    words = (
        task.seq,
        task.horizon,
        task.quantile_levels,
        task.anomaly_rate,
        task.model,
        task.reset,
        task.durable,
        sorted(task.facts.items()),
    )
    # One missing value, one zero.
    values = np.where(np.isnan(task.values), np.nan, task.values + 0.0).astype("<f8")
    whole = blake2b(msgspec.msgpack.encode(words), digest_size=HASH_BYTES)
    whole.update(values.tobytes())
    return whole.digest()


def _check_seq(request: AppendRequest, points: int) -> None:
    seq = request.seq
    if seq is None and points:
        raise InputError("seq", "a number beside points", "none", code="missing_field")
    if seq is not None and not 1 <= seq <= LARGEST_SEQ:
        raise InputError("seq", "1 or more", str(seq)[:SHOWN])
    if seq == 1:
        return
    given = [name for name in FIRST_ONLY if getattr(request, name) is not None]
    for name in given + ["reset"] * request.reset:
        raise InputError(name, "seq 1 beside it", "none" if seq is None else str(seq))


def _read_horizon(horizon: int | None, limits: Settings) -> int:
    if not 0 <= (horizon or 0) <= limits.max_horizon:
        raise InputError("horizon", f"0 to {limits.max_horizon}", str(horizon)[:SHOWN])
    return horizon or 0


def _read_rate(rate: float | None) -> float | None:
    if rate is not None and not 0.0 < rate < 1.0:
        code = "out_of_range" if np.isfinite(rate) else "non_finite"
        expected = "a number strictly between 0 and 1"
        raise InputError("anomaly_rate", expected, str(rate), code=code)
    return rate


def _read_durable(durable: str | None) -> bool:
    if durable not in (None, EVERY_STEP):
        raise InputError("durable", EVERY_STEP, repr(durable)[:SHOWN])
    return durable == EVERY_STEP


def _read_facts(request: AppendRequest, values: FloatArray, horizon: int) -> Mapping[str, str]:
    """Gives the times of a stream: when its first observed point was, and how it goes on.

    Missing points before that one do not count, neither here nor in `observed`.
    """
    given = read_start(request.start, request.freq)
    if given is None:
        return {}
    observed = np.flatnonzero(~np.isnan(values))
    if not len(observed):
        got = f"{len(values)} missing values" if len(values) else "no points"
        raise InputError("append", "an observed value beside start", got, code="empty")
    # What would be beyond the calendar must not be found out when the points are taken in.
    end_of(*given, len(values) + horizon)
    start = end_of(*given, int(observed[0]) + 1)
    return {"start": format_time(start), "freq": (request.freq or "").strip()}

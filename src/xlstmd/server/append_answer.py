"""The answer to an append as bytes."""

import math
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET, Raw, UnsetType

from xlstmd.engine.session_tasks import AppendResult, AppendTask
from xlstmd.errors import InputError
from xlstmd.models.calendar import parse_freq, parse_time
from xlstmd.server.answer import ENCODE, timing_of
from xlstmd.server.arrays import FloatArray
from xlstmd.server.exchange import Exchange
from xlstmd.server.media import Media
from xlstmd.server.session_wire import AnomalyEntry, EncodedAppendAnswer
from xlstmd.server.times import Times, end_of
from xlstmd.server.wire import EncodedForecast

FIRST_ROW: Final = 0


def encode_append(
    task: AppendTask, result: AppendResult, media: Media, exchange: Exchange
) -> bytes:
    """Writes the answer.

    Raises:
      InputError: a time beyond the year 9999.
    """
    return ENCODE[media](
        EncodedAppendAnswer(
            session=task.key.id,
            seq=result.seq,
            durable_seq=result.durable_seq,
            observed=result.observed,
            forecast=_forecast(task, result, media),
            anomaly=_anomaly(task, result, media),
            model=result.model,
            timing=timing_of(exchange),
            request_id=exchange.request_id,
        )
    )


def times_of(facts: Mapping[str, str], observed: int) -> Times | None:
    """Gives where a stream is in time; `None` for one that was never told.

    Args:
      facts: of its session.
      observed: points since the first observed one, whose time is the fact `start`.
    """
    if "start" not in facts or "freq" not in facts or observed < 1:
        return None
    try:
        frequency = parse_freq(facts["freq"], field="freq")
        start = parse_time(facts["start"], field="start")
    except InputError:
        # An imported snapshot's facts may be anybody's.
        return None
    return Times(end_of(start, frequency, observed), frequency)


def _forecast(task: AppendTask, result: AppendResult, media: Media) -> EncodedForecast | UnsetType:
    forecast = result.forecast
    if forecast is None:
        return UNSET
    encode = ENCODE[media]

    def numbers(array: FloatArray) -> Raw:
        return Raw(encode(array.tolist()))

    times = times_of(result.facts, result.observed)
    return EncodedForecast(
        mean=numbers(forecast.mean[FIRST_ROW]),
        median=numbers(forecast.median[FIRST_ROW]),
        quantiles={
            repr(level): numbers(forecast.quantiles[FIRST_ROW, :, column])
            for column, level in enumerate(forecast.quantile_levels)
        },
        timestamps=UNSET if times is None else Raw(encode(times.future(task.horizon))),
        mean_method=forecast.mean_method,
    )


def _anomaly(task: AppendTask, result: AppendResult, media: Media) -> Raw | UnsetType:
    scores = result.scores
    if scores is None:
        return UNSET
    columns = (task.values, scores.quantile, scores.surprise, scores.flag)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return Raw(ENCODE[media]([_entry(*row) for row in rows]))


def _entry(value: float, quantile: float, surprise: float, flag: bool) -> AnomalyEntry | None:
    if math.isnan(value):
        return None
    return AnomalyEntry(
        value=value,
        quantile=None if math.isnan(quantile) else quantile,
        surprise=None if math.isnan(surprise) else surprise,
        flag=flag,
    )

"""Answers as bytes."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from litestar import Response

from xlstmd.engine.tasks import ForecastResult
from xlstmd.server.arrays import FloatArray
from xlstmd.server.exchange import Exchange
from xlstmd.server.media import Media
from xlstmd.server.question import Question
from xlstmd.server.times import Times
from xlstmd.server.wire import EncodedAnswer, EncodedForecast, Timing

DECIMALS: Final = 3
ENCODE: Final[Mapping[Media, Callable[[object], bytes]]] = {
    Media.JSON: msgspec.json.Encoder().encode,
    Media.MSGPACK: msgspec.msgpack.Encoder().encode,
}


def timing_of(exchange: Exchange) -> Timing:
    """Gives the times of a request up to now."""
    return Timing(
        queue_ms=round(exchange.queue_ms or 0.0, DECIMALS),
        compute_ms=round(exchange.compute_ms or 0.0, DECIMALS),
        total_ms=round(1000.0 * exchange.elapsed_s, DECIMALS),
    )


def encode_forecasts(
    question: Question, result: ForecastResult, media: Media, exchange: Exchange
) -> bytes:
    """Writes the answer to a forecast request.

    Every list is encoded by itself, so that a thread that encodes a large answer keeps the
    interpreter only for a moment at a time.

    Raises:
      InputError: a time beyond the year 9999.
    """
    encode = ENCODE[media]
    forecast = result.forecast
    future = FutureTimes(question.horizon, media)
    names = [repr(level) for level in forecast.quantile_levels]

    def numbers(array: FloatArray) -> msgspec.Raw:
        return msgspec.Raw(encode(array.tolist()))

    forecasts = [
        EncodedForecast(
            id=msgspec.UNSET if label.id is None else label.id,
            mean=numbers(forecast.mean[row]),
            median=numbers(forecast.median[row]),
            quantiles={
                name: numbers(forecast.quantiles[row, :, column])
                for column, name in enumerate(names)
            },
            timestamps=msgspec.UNSET if label.times is None else future.after(label.times),
            mean_method=forecast.mean_method,
        )
        for row, label in enumerate(question.labels)
    ]
    answer = EncodedAnswer(
        forecasts=forecasts,
        model=result.model,
        timing=timing_of(exchange),
        request_id=exchange.request_id,
    )
    return encode(answer)


class FutureTimes:
    """Times of forecasts, encoded; series that end together share theirs."""

    def __init__(self, horizon: int, media: Media) -> None:
        """Starts with none."""
        self._horizon = horizon
        self._encode = ENCODE[media]
        self._known: dict[Times, msgspec.Raw] = {}

    def after(self, times: Times) -> msgspec.Raw:
        """Gives the times that follow.

        Raises:
          InputError: beyond the year 9999.
        """
        known = self._known.get(times)
        if known is None:
            known = msgspec.Raw(self._encode(times.future(self._horizon)))
            self._known[times] = known
        return known


def json_answer(content: object) -> Response[bytes]:
    """Gives an answer of a route for reading."""
    return Response(ENCODE[Media.JSON](content), media_type=Media.JSON)

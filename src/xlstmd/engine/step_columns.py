"""The answers to a batch of steps as columns, and back."""

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np

from xlstmd.engine.error_record import error_of, error_record
from xlstmd.engine.lane_channel import Array
from xlstmd.errors import InputError, ModelFailed
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.stream_step import StreamAnswer

# Steps that asked for no scores.
_NO_SCORES: Final = -1

# Arrays: points observed, number of scores, their three columns; then those of the forecasts.
_SCORE_ARRAYS: Final = 5


def answer_columns(answers: Sequence[StreamAnswer]) -> tuple[dict[str, Any], list[Array]]:
    """Gives what is no array, and the arrays."""
    scores = [answer.scores for answer in answers]
    counts = [_NO_SCORES if each is None else len(each.flag) for each in scores]
    given = [each for each in scores if each is not None]
    arrays: list[Array] = [
        np.array([answer.observed for answer in answers], dtype=np.int64),
        np.array(counts, dtype=np.int64),
        np.concatenate([np.empty(0), *(each.quantile for each in given)]),
        np.concatenate([np.empty(0), *(each.surprise for each in given)]),
        np.concatenate([np.empty(0, dtype=np.bool_), *(each.flag for each in given)]),
    ]
    groups = _groups(answers)
    for rows in groups.values():
        forecasts = [forecast for row in rows if (forecast := answers[row].forecast) is not None]
        arrays += [
            np.concatenate([forecast.mean for forecast in forecasts]),
            np.concatenate([forecast.median for forecast in forecasts]),
            np.concatenate([forecast.quantiles for forecast in forecasts]),
        ]
    header = {
        "errors": [
            (row, error_record(answer.error))
            for row, answer in enumerate(answers)
            if answer.error is not None
        ],
        "forecasts": [
            (rows, levels, mean_method) for (_, levels, mean_method), rows in groups.items()
        ],
    }
    return header, arrays


def answers_of(header: dict[str, Any], arrays: Sequence[Array]) -> list[StreamAnswer]:
    """Makes the answers again."""
    observed, counts, quantile, surprise, flag = arrays[:_SCORE_ARRAYS]
    forecasts: dict[int, QuantileForecast] = {}
    rest = iter(arrays[_SCORE_ARRAYS:])
    for rows, levels, mean_method in header["forecasts"]:
        mean, median, quantiles = next(rest), next(rest), next(rest)
        for place, row in enumerate(rows):
            forecasts[row] = QuantileForecast(
                mean=mean[place : place + 1],
                median=median[place : place + 1],
                quantiles=quantiles[place : place + 1],
                quantile_levels=tuple(levels),
                mean_method=mean_method,
            )
    errors = {
        row: cast(InputError | ModelFailed, error_of(record)) for row, record in header["errors"]
    }
    answers, start = [], 0
    for row, (seen, count) in enumerate(zip(observed.tolist(), counts.tolist(), strict=True)):
        scores = None
        if count != _NO_SCORES:
            part = slice(start, start + count)
            start += count
            scores = AnomalyScores(
                quantile=quantile[part], surprise=surprise[part], flag=flag[part]
            )
        answers.append(
            StreamAnswer(
                observed=seen, forecast=forecasts.get(row), scores=scores, error=errors.get(row)
            )
        )
    return answers


def _groups(answers: Sequence[StreamAnswer]) -> dict[tuple[Any, ...], list[int]]:
    """Gives the rows with a forecast, by what its arrays' shapes depend on."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, answer in enumerate(answers):
        forecast = answer.forecast
        if forecast is not None:
            key = (forecast.mean.shape[1], forecast.quantile_levels, forecast.mean_method)
            groups.setdefault(key, []).append(row)
    return groups

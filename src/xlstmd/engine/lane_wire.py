"""Orders and answers of a lane as messages: rows of a batch become columns."""

from collections.abc import Sequence
from math import isnan
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.error_record import error_of, error_record
from xlstmd.engine.lane_channel import Array, Message
from xlstmd.engine.orders import (
    ClearSlots,
    ExportSlots,
    Forecast,
    Move,
    OpenSlots,
    Order,
    RestoreSlot,
    TakeSteps,
    TryOut,
)
from xlstmd.engine.policy_columns import (
    pack_policy_answers,
    pack_policy_moves,
    unpack_policy_answers,
    unpack_policy_moves,
)
from xlstmd.engine.step_columns import answer_columns, answers_of
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.stream_step import StreamStep

# A stream that begins has no source.
_NONE: Final = -1
_NAN: Final = float("nan")


def pack_order(order: Order) -> Message:
    """Writes an order."""
    match order:
        case Forecast(histories, horizon, quantile_levels):
            header = {"order": "forecast", "horizon": horizon, "levels": quantile_levels}
            return Message(header, [*_joined(histories)])
        case TakeSteps(moves):
            is_policy = bool(moves) and isinstance(moves[0].step, PolicyStep)
            return pack_policy_moves(moves) if is_policy else _pack_moves(moves)
        case TryOut():
            return Message({"order": "try"}, [])
        case OpenSlots(count):
            return Message({"order": "open", "count": count}, [])
        case ExportSlots(slots):
            return Message({"order": "export", "slots": list(slots)}, [])
        case RestoreSlot(slot, payload):
            return Message({"order": "restore", "slot": slot}, [np.frombuffer(payload, np.uint8)])
        case ClearSlots(slots):
            return Message({"order": "clear", "slots": list(slots)}, [])


def unpack_order(message: Message) -> Order:
    """Reads what `pack_order` has written."""
    header, arrays = message
    match header["order"]:
        case "forecast":
            histories = _parted(*arrays)
            return Forecast(histories, header["horizon"], tuple(header["levels"]))
        case "steps":
            return TakeSteps(_unpack_moves(message))
        case "policy_steps":
            return TakeSteps(unpack_policy_moves(message))
        case "try":
            return TryOut()
        case "open":
            return OpenSlots(header["count"])
        case "export":
            return ExportSlots(header["slots"])
        case "restore":
            return RestoreSlot(header["slot"], arrays[0].tobytes())
        case "clear":
            return ClearSlots(header["slots"])
        case other:
            raise ValueError(f"order: expected a known one, got {other}")


def pack_answer(answer: Any) -> Message:
    """Writes an answer of `LaneWorker.do`."""
    if answer is None:
        return Message({"answer": "done"}, [])
    if isinstance(answer, QuantileForecast):
        header = {
            "answer": "forecast",
            "levels": answer.quantile_levels,
            "mean_method": answer.mean_method,
        }
        return Message(header, [answer.mean, answer.median, answer.quantiles])
    if answer and isinstance(answer[0], bytes):
        payloads = [np.frombuffer(payload, np.uint8) for payload in answer]
        return Message({"answer": "payloads"}, list(payloads))
    if answer and isinstance(answer[0], PolicyAnswer):
        return pack_policy_answers(answer)
    header, arrays = answer_columns(answer)
    return Message({"answer": "steps", **header}, arrays)


def pack_error(error: BaseException) -> Message:
    """Writes what an order failed with."""
    return Message({"answer": "error", "error": error_record(error)}, [])


def unpack_answer(message: Message) -> Any:
    """Reads what `pack_answer` has written; raises what `pack_error` has written."""
    header, arrays = message
    match header["answer"]:
        case "done":
            return None
        case "forecast":
            mean, median, quantiles = arrays
            return QuantileForecast(
                mean=mean,
                median=median,
                quantiles=quantiles,
                quantile_levels=tuple(header["levels"]),
                mean_method=header["mean_method"],
            )
        case "payloads":
            return [array.tobytes() for array in arrays]
        case "steps":
            return answers_of(header, arrays)
        case "policy_steps":
            return unpack_policy_answers(message)
        case _:
            raise error_of(header["error"])


def _pack_moves(moves: Sequence[Move]) -> Message:
    steps = [cast(StreamStep, move.step) for move in moves]
    places: dict[tuple[float, ...], int] = {}
    numbers = [
        (
            _NONE if source is None else source,
            step.slot,
            step.horizon,
            places.setdefault(step.quantile_levels, len(places)),
        )
        for (source, _), step in zip(moves, steps, strict=True)
    ]
    rates = [_NAN if step.anomaly_rate is None else step.anomaly_rate for step in steps]
    lengths, values = _joined([step.values for step in steps])
    arrays = [np.array(numbers, dtype=np.int64), np.array(rates), lengths, values]
    return Message({"order": "steps", "levels": list(places)}, arrays)


def _unpack_moves(message: Message) -> list[Move]:
    numbers, rates, lengths, values = message.arrays
    levels = [tuple(each) for each in message.header["levels"]]
    rows = zip(numbers.tolist(), rates.tolist(), _parted(lengths, values), strict=True)
    return [
        Move(
            None if source == _NONE else source,
            StreamStep(
                slot=slot,
                values=part,
                horizon=horizon,
                quantile_levels=levels[place],
                anomaly_rate=None if isnan(rate) else rate,
            ),
        )
        for (source, slot, horizon, place), rate, part in rows
    ]


def _joined(parts: Sequence[NDArray[np.float64]]) -> tuple[Array, Array]:
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return lengths, np.concatenate([np.empty(0), *parts])


def _parted(lengths: Array, values: Array) -> list[NDArray[np.float64]]:
    ends = np.cumsum(lengths).tolist()
    return [values[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]

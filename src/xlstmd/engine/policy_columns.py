"""Steps of episodes and their answers as messages: rows of a batch become columns."""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np

from xlstmd.engine.lane_channel import Message
from xlstmd.engine.orders import Move
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep

# An episode that begins has no source.
_NONE: Final = -1

_NAME: Final = "policy_steps"


def pack_policy_moves(moves: Sequence[Move]) -> Message:
    """Writes moves whose steps are all of episodes of one policy."""
    steps = [cast(PolicyStep, move.step) for move in moves]
    numbers = [
        (_NONE if move.source is None else move.source, step.slot, len(step.observations))
        for move, step in zip(moves, steps, strict=True)
    ]
    seen = np.concatenate([step.observations for step in steps])
    return Message({"order": _NAME}, [np.array(numbers, dtype=np.int64), seen])


def unpack_policy_moves(message: Message) -> list[Move]:
    """Reads what `pack_policy_moves` has written."""
    numbers, seen = message.arrays
    moves, start = [], 0
    for source, slot, length in numbers.tolist():
        observations = seen[start : start + length]
        start += length
        step = PolicyStep(slot=slot, observations=observations)
        moves.append(Move(None if source == _NONE else source, step))
    return moves


def pack_policy_answers(answers: Sequence[PolicyAnswer]) -> Message:
    """Writes one or more answers."""
    lengths = np.array([len(answer.is_sound) for answer in answers], dtype=np.int64)
    actions = np.concatenate([answer.actions for answer in answers])
    is_sound = np.concatenate([answer.is_sound for answer in answers])
    return Message({"answer": _NAME}, [lengths, actions, is_sound])


def unpack_policy_answers(message: Message) -> list[PolicyAnswer]:
    """Reads what `pack_policy_answers` has written."""
    lengths, actions, is_sound = message.arrays
    ends = np.cumsum(lengths).tolist()
    return [
        PolicyAnswer(actions=actions[end - length : end], is_sound=is_sound[end - length : end])
        for end, length in zip(ends, lengths.tolist(), strict=True)
    ]

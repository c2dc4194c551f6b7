"""The answer to a policy step as bytes."""

from collections.abc import Sequence

from msgspec import UNSET

from xlstmd.engine.policy_status import ActionStatus
from xlstmd.engine.policy_tasks import PolicyResult, PolicyTask
from xlstmd.server.answer import ENCODE, timing_of
from xlstmd.server.arrays import FloatArray
from xlstmd.server.exchange import Exchange
from xlstmd.server.media import Media
from xlstmd.server.policy_wire import PolicyStepAnswer


def encode_policy_step(
    task: PolicyTask,
    result: PolicyResult,
    choices: Sequence[bool],
    media: Media,
    exchange: Exchange,
) -> bytes:
    """Writes the answer.

    Args:
      task: that was asked.
      result: of it.
      choices: for each number of an action, whether it is one of some choices: a whole number.
      media: format.
      exchange: of the request.
    """
    is_late = ActionStatus.FALLBACK_LATE in result.statuses
    answer = PolicyStepAnswer(
        action=_numbers(result.actions[-1], choices),
        status=result.statuses[-1],
        session=task.key.id,
        seq=result.seq,
        durable_seq=result.durable_seq,
        valid_for_ms=result.valid_for_ms,
        episode_step=result.episode_step,
        state_advanced=result.state_advanced,
        pending=result.pending if is_late else UNSET,
        model=result.model,
        timing=timing_of(exchange),
        request_id=exchange.request_id,
    )
    if task.is_replay:
        answer.actions = [_numbers(action, choices) for action in result.actions]
        answer.statuses = list(result.statuses)
    return ENCODE[media](answer)


def _numbers(action: FloatArray, choices: Sequence[bool]) -> list[float]:
    numbers: list[float] = action.tolist()
    return [
        int(number) if is_choice else number
        for number, is_choice in zip(numbers, choices, strict=True)
    ]

"""Answers requests for many sessions of policies at once, each by itself."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import Raw

from xlstmd.engine.policy_tasks import PolicyTask
from xlstmd.errors import InputError, LimitError
from xlstmd.server.answer import ENCODE, timing_of
from xlstmd.server.decode import decode
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import told_document
from xlstmd.server.media import Media
from xlstmd.server.policy_stepper import PolicyStepper
from xlstmd.server.policy_wire import FleetAnswer, FleetRequest
from xlstmd.server.settings import Settings

_NOTHING: Final = "a step that was not read"


@dataclass(slots=True)
class FleetStep:
    """One of the steps.

    Args:
      exchange: as for a request of its own.
      task: what it asks; None where that cannot be read.
      error: why.
    """

    exchange: Exchange
    task: PolicyTask | None = None
    error: Exception = field(default_factory=lambda: RuntimeError(_NOTHING))


class FleetStepper:
    """Reads many steps, takes them together, writes their answers in the order of the request."""

    def __init__(self, stepper: PolicyStepper, settings: Settings, default_model: str) -> None:
        """Keeps what answers need.

        Args:
          stepper: takes each step.
          settings: bounds.
          default_model: that every answer names.
        """
        self._stepper = stepper
        self._settings = settings
        self._default_model = default_model

    def check_running(self) -> None:
        """Refuses requests before and after the engine's time; see `PolicyStepper`."""
        self._stepper.check_running()

    async def read(self, body: bytes, media: Media, exchange: Exchange) -> Sequence[FleetStep]:
        """Decodes the steps; a fault in one of them is its own.

        Raises:
          Problem: 400 `malformed`.
          InputError: 422, with the field.
          LimitError: 413 `too_many_items`.
        """
        request = decode(body, media, FleetRequest, path="")
        if not request.steps:
            raise InputError("steps", "at least one", "none", code="empty")
        if len(request.steps) > self._settings.max_series:
            expected = f"at most {self._settings.max_series}"
            raise LimitError("steps", expected, str(len(request.steps)))
        exchange.series = len(request.steps)
        exchange.model = self._default_model
        steps = [
            FleetStep(exchange.part(number)) for number, _ in enumerate(request.steps, start=1)
        ]
        for step in steps:
            step.exchange.started = exchange.started
        for step, raw in zip(steps, request.steps, strict=True):
            try:
                step.task = await self._stepper.read(bytes(raw), media, step.exchange)
            except Exception as error:
                step.error = error
        return steps

    async def answer(
        self,
        task: Sequence[FleetStep],
        media: Media,
        exchange: Exchange,
        left_s: Callable[[], float],
    ) -> bytes:
        """Takes the steps and writes the answer.

        Args:
          task: the steps.
          media: format of the answer.
          exchange: is told what has happened.
          left_s: gives how many seconds are left.
        """
        answers = await asyncio.gather(*(self._one(step, media, left_s) for step in task))
        exchange.state_advanced = any(step.exchange.state_advanced for step in task)
        return ENCODE[media](
            FleetAnswer(
                steps=[Raw(answer) for answer in answers],
                model=self._default_model,
                timing=timing_of(exchange),
                request_id=exchange.request_id,
            )
        )

    async def _one(self, step: FleetStep, media: Media, left_s: Callable[[], float]) -> bytes:
        try:
            if step.task is None:
                raise step.error
            return await self._stepper.answer(step.task, media, step.exchange, left_s)
        except Exception as error:
            return ENCODE[media](told_document(error, step.exchange))

"""Answers requests for policies, whichever way they have come."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from xlstmd.engine.engine import Engine
from xlstmd.engine.policy_tasks import POLICY, PolicyTask
from xlstmd.engine.session_tasks import Sessions
from xlstmd.errors import InputError
from xlstmd.server.exchange import Exchange
from xlstmd.server.hot_route import (
    BYTES_PER_NUMBER,
    INLINE_BODY_BYTES,
    INLINE_NUMBERS,
    maybe_in_thread,
)
from xlstmd.server.media import Media
from xlstmd.server.policy_answer import encode_policy_step
from xlstmd.server.policy_task import read_policy_step
from xlstmd.server.problems import refuse_unless_running
from xlstmd.server.settings import Settings

STREAM_PATH: Final = "/api/v1/xlstm/policy/stream"


class PolicyStepper:
    """Reads a request, takes its step, writes its answer.

    Attributes:
      stream_path: of the WebSocket that does the same.
    """

    stream_path = STREAM_PATH

    def __init__(self, engine: Engine, sessions: Sessions, settings: Settings) -> None:
        """Keeps what answers need."""
        self._engine = engine
        self._sessions = sessions
        self._settings = settings
        self._choices = {
            policy["model"]: [bool(entry["choices"]) for entry in policy["contract"]["actions"]]
            for policy in engine.describe_policies()
        }

    def check_running(self) -> None:
        """Refuses requests before and after the engine's time.

        Raises:
          Problem: 503 `loading` or `draining`.
        """
        refuse_unless_running(self._engine.phase)

    async def read(self, body: bytes, media: Media, exchange: Exchange) -> PolicyTask:
        """Decodes and checks a request.

        Raises:
          Problem: 400 `malformed`.
          InputError: 422, with the field.
          ModelNotFound: it names a policy that is not loaded.
        """
        task = await maybe_in_thread(
            len(body) > INLINE_BODY_BYTES, lambda: read_policy_step(body, media, self._settings)
        )
        exchange.series = len(task.observations)
        exchange.model = self._engine.find_model(task.policy)
        return task

    def metadata(self) -> Mapping[str, Any]:
        """Gives what the first frame of a WebSocket says of this surface."""
        return {"surface": POLICY, "policies": self._engine.describe_policies()}

    def nbytes_of(self, task: PolicyTask) -> int:
        """Gives the bytes that a task and its answer take, about."""
        width = max(map(len, self._choices.values()), default=0)
        return task.observations.nbytes + BYTES_PER_NUMBER * width * len(task.observations)

    async def answer(
        self, task: PolicyTask, media: Media, exchange: Exchange, left_s: Callable[[], float]
    ) -> bytes:
        """Takes the step and writes the answer.

        Args:
          task: as read.
          media: format of the answer.
          exchange: is told what has happened.
          left_s: gives how many seconds are left.

        Raises:
          XlstmdError: see `Sessions.step`; the exchange knows whether the session has moved.
        """
        limit_s = left_s()
        try:
            result = await self._sessions.step(
                replace(task, since_s=exchange.elapsed_s, limit_s=limit_s)
            )
        except InputError as error:
            if error.code == "non_finite":
                self._engine.telemetry.nonfinite.labels(exchange.model, "input").inc()
            raise
        exchange.state_advanced = result.seq >= task.seq
        exchange.model = result.model
        exchange.queue_ms, exchange.compute_ms = result.queue_ms, result.compute_ms
        choices = self._choices[result.model]
        return await maybe_in_thread(
            result.actions.size > INLINE_NUMBERS,
            lambda: encode_policy_step(task, result, choices, media, exchange),
        )

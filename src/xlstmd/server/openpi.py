"""The WebSocket `/api/v1/xlstm/policy/openpi/{policy}`, as clients of openpi speak it.

The first frame says what the policy is; then each frame with an observation gets one with actions.
One connection is one session, whose steps are numbered here.
"""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import numpy as np

from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.policy_tasks import POLICY, PolicyResult, PolicyTask
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_tasks import Sessions
from xlstmd.errors import (
    InputError,
    ModelNotFound,
    SeqConflict,
    SessionExpired,
    SessionUnknown,
    XlstmdError,
)
from xlstmd.server.answer import ENCODE
from xlstmd.server.append_task import TENANT
from xlstmd.server.arrays import FloatArray
from xlstmd.server.body import Receive
from xlstmd.server.exchange import MS_PER_S, Exchange
from xlstmd.server.gate import Scope, Send, told_document
from xlstmd.server.media import Media
from xlstmd.server.numpy_wire import packed_array, read_map, read_numbers
from xlstmd.server.problems import refuse_unless_running
from xlstmd.server.question import check_name
from xlstmd.server.stream import DRAINING, DRAINING_CODE
from xlstmd.server.telemetry import ServerTelemetry
from xlstmd.server.wire import MODEL_PATTERN

OPENPI_PATH: Final = "/api/v1/xlstm/policy/openpi/"
ROUTE: Final = OPENPI_PATH + "{policy}"

# Beside the numbers of the contract, by their names or all together, an observation may have it.
RESET: Final = "reset"
WHOLE: Final = "observation"


class OpenpiRoute:
    """Opens such connections."""

    def __init__(self, engine: Engine, sessions: Sessions, telemetry: ServerTelemetry) -> None:
        """Keeps what answers need."""
        self.engine = engine
        self.sessions = sessions
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection.

        Raises:
          Problem: before it is a WebSocket: 503 `loading` or `draining`.
          ModelNotFound: likewise: there is no such policy.
          InputError: likewise: the name is none.
        """
        exchange = Exchange.of(scope)
        exchange.endpoint = ROUTE
        refuse_unless_running(self.engine.phase)
        name = scope["path"].removeprefix(OPENPI_PATH)
        check_name(name, MODEL_PATTERN, "policy")
        model = exchange.model = self.engine.find_model(name)
        found = [one for one in self.engine.describe_policies() if one["model"] == model]
        if not found:
            known = [one["model"] for one in self.engine.describe_policies()]
            raise ModelNotFound(name, known)
        await receive()
        await send({"type": "websocket.accept"})
        await _Connection(self, found[0], exchange, receive, send).serve()


class _Connection:
    """One connection, one session."""

    def __init__(
        self,
        route: OpenpiRoute,
        policy: Mapping[str, Any],
        exchange: Exchange,
        receive: Receive,
        send: Send,
    ) -> None:
        self._route = route
        self._policy = policy
        self._names = [entry["name"] for entry in policy["contract"]["observations"]]
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._key = SessionKey(TENANT, POLICY, f"openpi-{uuid.uuid4().hex}")
        self._seq = 0
        self._count = 0
        self._total_ms: float | None = None

    async def serve(self) -> None:
        """Answers frames until the connection ends, and the session with it."""
        try:
            await self._reply({**self._policy, "request_id": self._exchange.request_id})
            while (message := await self._receive())["type"] != "websocket.disconnect":
                await self._answer(message.get("bytes") or (message.get("text") or "").encode())
                if self._route.engine.phase is not Phase.RUNNING:
                    close = {"code": DRAINING_CODE, "reason": DRAINING}
                    await self._send({"type": "websocket.close", **close})
                    return
        except OSError:
            # The client has gone.
            return
        finally:
            self._exchange.series = self._count
            with suppress(XlstmdError):
                await self._route.sessions.end(self._key)

    async def _answer(self, body: bytes) -> None:
        self._count += 1
        exchange = self._exchange.part(self._count)
        exchange.model, exchange.series = self._policy["model"], 1
        try:
            result = await self._step(body, exchange)
        except Exception as error:
            document = told_document(error, exchange)
            self._route.telemetry.finish(exchange)
            text = ENCODE[Media.JSON](document).decode()
            await self._send({"type": "websocket.send", "text": text})
            return
        self._route.telemetry.finish(exchange)
        await self._reply(self._answer_of(result, exchange))
        self._total_ms = MS_PER_S * exchange.elapsed_s

    async def _step(self, body: bytes, exchange: Exchange) -> PolicyResult:
        refuse_unless_running(self._route.engine.phase)
        seen = read_map(body)
        reset = seen.pop(RESET, False)
        if not isinstance(reset, bool):
            raise InputError(RESET, "true or false", "another value", code="bad_type")
        numbers = self._numbers(seen)[None]
        try:
            return await self._take(numbers, exchange, reset=reset)
        except SeqConflict as error:
            # What was lost with the policy's worker cannot be asked for again on this wire.
            self._seq = error.expected - 1
        except (SessionUnknown, SessionExpired):
            self._seq, reset = 0, True
        return await self._take(numbers, exchange, reset=reset)

    async def _take(self, seen: FloatArray, exchange: Exchange, *, reset: bool) -> PolicyResult:
        task = PolicyTask(
            key=self._key,
            seq=self._seq + 1,
            observations=seen,
            policy=self._policy["model"],
            reset=reset,
            request_hash=self._count.to_bytes(8, "big"),
            since_s=exchange.elapsed_s,
        )
        result = await self._route.sessions.step(task)
        self._seq = result.seq
        return result

    def _numbers(self, seen: dict[str, Any]) -> FloatArray:
        """Gives the numbers in the order of the contract: all under one name, or by theirs."""
        if seen.keys() == {WHOLE}:
            return read_numbers(seen[WHOLE], field=WHOLE)
        if seen.keys() != set(self._names):
            expected = f"{WHOLE}, or {', '.join(self._names)}"
            got = ", ".join(sorted(seen))[:100] or "nothing"
            raise InputError(WHOLE, expected, got, code="unknown_field")
        return np.concatenate([read_numbers(seen[name], field=name) for name in self._names])

    def _answer_of(self, result: PolicyResult, exchange: Exchange) -> dict[str, Any]:
        timing = {"infer_ms": MS_PER_S * exchange.elapsed_s}
        if self._total_ms is not None:
            timing["prev_total_ms"] = self._total_ms
        return {
            "actions": packed_array(result.actions),
            "status": result.statuses[-1].value,
            "seq": result.seq,
            "episode_step": result.episode_step,
            "valid_for_ms": result.valid_for_ms,
            "server_timing": timing,
        }

    async def _reply(self, content: dict[str, Any]) -> None:
        await self._send({"type": "websocket.send", "bytes": msgspec.msgpack.encode(content)})

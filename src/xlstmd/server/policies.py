"""The route that shows the policies and their contracts."""

from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from xlstmd.engine.engine import Engine
from xlstmd.server.answer import json_answer, timing_of
from xlstmd.server.exchange import Exchange
from xlstmd.server.policy_wire import PoliciesAnswer

POLICIES_PATH: Final = "/api/v1/xlstm/policies"

AnyRequest = Request[Any, Any, Any]


def policy_routes(engine: Engine) -> list[HTTPRouteHandler]:
    """Gives the route."""

    @get(POLICIES_PATH, sync_to_thread=False)
    def policies(request: AnyRequest) -> Response[bytes]:
        """Lists the loaded policies with their contracts."""
        exchange = Exchange.of(request.scope)
        answer = PoliciesAnswer(
            policies=engine.describe_policies(),
            model=engine.default_model,
            timing=timing_of(exchange),
            request_id=exchange.request_id,
        )
        return json_answer(answer)

    return [policies]

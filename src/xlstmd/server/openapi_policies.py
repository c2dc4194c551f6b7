"""The part of the OpenAPI document about policies."""

from typing import Final

from xlstmd.server.media import Media
from xlstmd.server.openapi_parts import HEADERS, Document, answers, problem_answers, reference
from xlstmd.server.policy_step import STEP_PATH
from xlstmd.server.policy_steps import STEPS_PATH
from xlstmd.server.policy_wire import (
    FleetAnswer,
    FleetRequest,
    PoliciesAnswer,
    PolicyStepAnswer,
    PolicyStepRequest,
)

TYPES: Final = (PolicyStepRequest, PolicyStepAnswer, FleetRequest, FleetAnswer, PoliciesAnswer)

STEP_PROBLEMS: Final = (
    400, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 500, 503, 504, 507,
)  # fmt: skip
EXAMPLE: Final = {
    "policy": "cartpole-no-velocity",
    "session": "arm-7",
    "seq": 1,
    "observation": [0.1, 0.03],
    "deadline_ms": 20,
}
TEXT: Final = (
    "Takes an observation in and gives an action, or the fallback of the policy's contract where "
    "there is none in time. Send the same request again when its answer was lost: it gets the same "
    "answer and advances nothing. Requests and answers are JSON or MessagePack; in MessagePack a "
    "list of numbers may also be a binary array, as for forecasts."
)


def policy_paths() -> Document:
    """Gives the paths."""
    fleet = _steps("policy_steps", "Takes steps of many sessions", "FleetRequest", "FleetAnswer")
    step = _steps(
        "policy_step", "Takes a step of a policy", "PolicyStepRequest", "PolicyStepAnswer"
    )
    content = step["requestBody"]["content"][Media.JSON] | {"example": EXAMPLE}
    step["requestBody"]["content"][Media.JSON] = content
    return {STEP_PATH: {"post": step | {"description": TEXT}}, STEPS_PATH: {"post": fleet}}


def _steps(name: str, summary: str, request: str, answer: str) -> Document:
    content = {"schema": reference(request)}
    return {
        "operationId": name,
        "tags": ["policies"],
        "summary": summary,
        "parameters": list(HEADERS),
        "requestBody": {
            "required": True,
            "content": {Media.JSON: content, Media.MSGPACK: content},
        },
        "responses": answers("What to do", answer) | problem_answers(STEP_PROBLEMS),
    }

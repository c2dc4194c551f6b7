"""Every stored exchange: the request brings the answer, to the letter."""

import json
from pathlib import Path

import pytest

from tests.server.daemon import in_process, run

FILES = sorted((Path(__file__).parent / "exchanges").glob("*.json"))
TIMES = {"queue_ms", "compute_ms", "total_ms"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_request_brings_answer(path):
    exchange = json.loads(path.read_text())
    request, expected = exchange["request"], exchange["answer"]

    async def ask():
        async with in_process() as client:
            content = request.get("text")
            if "body" in request:
                content = json.dumps(request["body"])
            return await client.request(
                request["method"], request["path"], headers=request["headers"], content=content
            )

    answer = run(ask())
    body = answer.json()
    if "timing" in body:
        assert set(body["timing"]) == TIMES
        assert all(time >= 0.0 for time in body["timing"].values())
        body["timing"] = dict.fromkeys(body["timing"], "number")
    assert body == expected["body"]
    assert answer.status_code == expected["status"]
    assert answer.headers["x-request-id"] == request["headers"]["x-request-id"]
    for name, value in expected["headers"].items():
        assert answer.headers[name] == value

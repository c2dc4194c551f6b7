"""The fleet route: many steps at once, each answered as if it had come alone."""

import json

import msgspec
import pytest

from tests.engine.policies import Episode, draw
from tests.server.test_policy_step import ANSWER, body, serve
from xlstmd.server.media import Media
from xlstmd.server.policy_step import STEP_PATH
from xlstmd.server.policy_steps import STEPS_PATH


def test_each_step_is_answered_as_if_it_had_come_alone():
    async def play(client, model):
        seen = draw(4)
        steps = [body(session="a", observation=seen[0].tolist())]
        steps += [body(session="b", observation=[1.0]), body(session="c", policy="leg")]
        steps += [body(2, session="a", observation=seen[1].tolist())]
        steps += [body(7, session="d"), {"polcy": "arm"}, [1, 2], body(session="e", seq="x")]
        answer = (await client.post(STEPS_PATH, json={"steps": steps})).json()
        assert set(answer) == {"steps", "model", "timing", "request_id"}
        given = answer["steps"]
        owed = Episode(model)(*seen[:2]).tolist()
        for number, action in ((0, owed[0]), (3, owed[1])):
            assert set(given[number]) == ANSWER
            assert given[number]["action"] == action
        codes = [one.get("code") for one in given]
        assert codes == [
            None, "bad_shape", "model_unknown", None, "session_unknown", "unknown_field",
            "bad_type", "bad_type",
        ]  # fmt: skip
        assert given[0]["request_id"] == f"{answer['request_id']}.1"
        for one in given:
            assert one.get("state_advanced") == (one.get("code") is None)
        again = (await client.post(STEP_PATH, json=steps[3])).json()
        assert again["action"] == owed[1]

    serve(play)


def test_a_late_session_is_late_alone():
    async def play(client, model):
        await client.post(STEP_PATH, json=body(session="a"))
        model.release.clear()
        steps = [body(2, session="a", deadline_ms=20), body(session="b", deadline_ms=40)]
        answer = (await client.post(STEPS_PATH, json={"steps": steps})).json()
        assert [one["status"] for one in answer["steps"]] == ["fallback_late"] * 2
        model.release.set()
        steps = [body(3, session="a"), body(2, session="b")]
        answer = (await client.post(STEPS_PATH, json={"steps": steps})).json()
        assert [one["status"] for one in answer["steps"]] == ["ok"] * 2

    serve(play)


def test_formats_give_the_same():
    async def play(client, _):
        steps = {"steps": [body(session=name) for name in "abc"]}
        one = (await client.post(STEPS_PATH, json=steps)).json()
        packed = msgspec.msgpack.encode(steps)
        headers = {"content-type": Media.MSGPACK}
        answer = await client.post(STEPS_PATH, content=packed, headers=headers)
        two = msgspec.msgpack.decode(answer.content)
        for first, second in zip(one["steps"], two["steps"], strict=True):
            assert {first[name] == second[name] for name in ANSWER - {"timing", "request_id"}} == {
                True
            }

    serve(play)


@pytest.mark.parametrize(
    ("steps", "code"), [([], "empty"), ({}, "bad_type"), ([{}] * 4, "too_many_items")]
)
def test_a_list_that_cannot_be_says_why(steps, code):
    async def play(client, _):
        return await client.post(STEPS_PATH, content=json.dumps({"steps": steps}), headers=headers)

    headers = {"content-type": "application/json"}
    answer = serve(play, max_series=3)
    assert answer.json()["code"] == code

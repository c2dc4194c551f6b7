"""The policy routes over the real engine and a fake policy."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from tests.engine.policies import DEADLINE_MS, Episode, FakePolicy, draw
from tests.fakes import EchoModel
from tests.server.daemon import in_process, run
from xlstmd.models.policy_contract import ActionField
from xlstmd.server.media import Media
from xlstmd.server.policies import POLICIES_PATH
from xlstmd.server.policy_step import STEP_PATH
from xlstmd.server.policy_task import MOST_OBSERVATIONS, read_policy_step
from xlstmd.server.settings import Settings

SESSIONS = "/api/v1/xlstm/sessions/policy"
ANSWER = {
    "action", "status", "session", "seq", "durable_seq", "valid_for_ms", "episode_step",
    "state_advanced", "model", "timing", "request_id",
}  # fmt: skip


def body(seq=1, **more):
    """Gives a request."""
    one = {} if "observations" in more else {"observation": [0.5, -1.0]}
    return {"policy": "arm", "session": "a", "seq": seq, **one, **more}


def serve(play, policy=None, **settings):
    """Runs a conversation with a daemon that has a forecaster and a policy."""

    async def converse():
        model = policy or FakePolicy()
        async with in_process(EchoModel("small"), model, **settings) as client:
            try:
                return await play(client, model)
            finally:
                model.release.set()

    return run(converse())


def post(request, policy=None, **headers):
    """Gives the answer to one request."""
    return serve(lambda client, _: client.post(STEP_PATH, json=request, headers=headers), policy)


def test_an_action_comes_with_all_that_is_promised():
    answer = post(body()).json()
    assert set(answer) == ANSWER
    owed = Episode(FakePolicy())((0.5, -1.0))[0].tolist()
    assert (answer["action"], answer["status"], answer["model"]) == (owed, "ok", "arm@1")
    assert (answer["session"], answer["seq"], answer["durable_seq"]) == ("a", 1, 0)
    assert (answer["valid_for_ms"], answer["episode_step"], answer["state_advanced"]) == (
        50.0, 1, True,
    )  # fmt: skip


def test_formats_and_retries_give_the_same():
    async def play(client, _):
        seen = np.array([0.5, -1.0], dtype="<f4")
        binary = {"dtype": "<f4", "shape": [2], "data": seen.tobytes()}
        answers = [(await client.post(STEP_PATH, json=body())).json()]
        for observation in ([0.5, -1.0], binary):
            packed = msgspec.msgpack.encode(body(observation=observation))
            headers = {"content-type": Media.MSGPACK}
            answer = await client.post(STEP_PATH, content=packed, headers=headers)
            assert answer.headers["content-type"] == Media.MSGPACK
            answers.append(msgspec.msgpack.decode(answer.content))
        return answers

    first, *others = serve(play)
    for other in others:
        for name in ANSWER - {"timing", "request_id"}:
            assert other[name] == first[name]


def test_several_observations_are_replayed():
    async def play(client, model):
        seen = draw(5)
        replay = body(observations=seen[:4].tolist())
        answer = (await client.post(STEP_PATH, json=replay)).json()
        owed = Episode(model)(*seen)
        assert answer["actions"] == owed[:4].tolist()
        assert answer["statuses"] == ["ok"] * 4
        assert (answer["action"], answer["status"], answer["seq"]) == (
            answer["actions"][-1],
            "ok",
            4,
        )
        answer = (await client.post(STEP_PATH, json=body(5, observation=seen[4].tolist()))).json()
        assert (answer["action"], answer["episode_step"]) == (owed[4].tolist(), 5)

    serve(play)


def test_choices_are_whole_numbers():
    move = ActionField(name="move", low=0, high=1, choices=("left", "right"))
    valve = ActionField(name="valve", low=0.0, high=2.0)
    answer = post(body(observation=[20.0, 0.0]), FakePolicy(actions=(move, valve)))
    assert '"action":[0,0.0]' in answer.text
    assert answer.json()["status"] == "fallback_ood"


def test_a_late_step_is_answered_and_the_next_one_follows_it():
    async def play(client, model):
        await client.post(STEP_PATH, json=body())
        model.release.clear()
        late = (await client.post(STEP_PATH, json=body(2, deadline_ms=30))).json()
        assert (late["status"], late["state_advanced"], late["pending"]) == (
            "fallback_late", False, True,
        )  # fmt: skip
        assert (late["seq"], late["episode_step"]) == (2, 2)
        error = await client.post(STEP_PATH, json=body(3, deadline_ms=30, on_deadline="error"))
        assert (error.status_code, error.json()["code"]) == (504, "deadline_exceeded")
        assert error.json()["state_advanced"] is False
        # The header counts like `deadline_ms`, whichever is less.
        late = await client.post(STEP_PATH, json=body(3), headers={"x-deadline-ms": "30"})
        assert late.json()["status"] == "fallback_late"
        model.release.set()
        answer = (await client.post(STEP_PATH, json=body(4))).json()
        assert (answer["status"], answer["seq"]) == ("ok", 4)
        assert answer["action"] == Episode(model)(*[(0.5, -1.0)] * 4)[-1].tolist()
        metrics = (await client.get("/metrics")).text
        assert 'xlstmd_policy_actions_total{model="arm",status="fallback_late"} 2.0' in metrics

    serve(play)


def test_old_observations_are_told():
    async def play(client, _):
        old = (datetime.now(UTC) - timedelta(seconds=2)).isoformat()
        statuses = []
        for seq, limit in ((1, 1000), (2, 60_000)):
            asked = body(seq, observed_at=old, max_age_ms=limit)
            statuses.append((await client.post(STEP_PATH, json=asked)).json()["status"])
        assert statuses == ["fallback_stale", "ok"]

    serve(play)


@pytest.mark.parametrize(
    ("more", "code", "field"),
    [
        ({"observation": None}, "missing_field", "observation"),
        ({"observation": [1.0]}, "bad_shape", "observation"),
        ({"observation": [1.0, "x"]}, "bad_type", "observation"),
        ({"observations": []}, "empty", "observations"),
        ({"observations": [[1.0, 2.0], [1.0]]}, "bad_shape", "observations[1]"),
        ({"observations": [[0.0, 0.0]], "observation": [0.0, 0.0]}, "unknown_field", "observation"),
        ({"observations": [[0.0, 0.0]], "max_age_ms": 1}, "unknown_field", "max_age_ms"),
        ({"observed_at": "yesterday"}, "out_of_range", "observed_at"),
        ({"max_age_ms": 0}, "out_of_range", "max_age_ms"),
        ({"deadline_ms": -1}, "out_of_range", "deadline_ms"),
        ({"on_deadline": "guess"}, "out_of_range", "on_deadline"),
        ({"seq": 0}, "out_of_range", "seq"),
        ({"seq": 2, "durable": "every_step"}, "out_of_range", "durable"),
        ({"session": "a b"}, "out_of_range", "session"),
        ({"polcy": "arm"}, "unknown_field", "polcy"),
    ],
)
def test_a_request_that_cannot_be_says_why(more, code, field):
    answer = post(body(**more))
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, code, field)
    assert problem["state_advanced"] is False


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_and_counted(number):
    async def play(client, _):
        packed = msgspec.msgpack.encode(body(observation=[0.0, number]))
        headers = {"content-type": Media.MSGPACK}
        answer = await client.post(STEP_PATH, content=packed, headers=headers)
        problem = msgspec.json.decode(answer.content)
        assert (answer.status_code, problem["code"]) == (422, "non_finite")
        metrics = (await client.get("/metrics")).text
        assert 'xlstmd_nonfinite_total{model="arm@1",where="input"} 1.0' in metrics
        beyond = json.dumps(body()).replace("0.5", "1e999")
        answer = await client.post(STEP_PATH, content=beyond)
        assert answer.json()["code"] in ("non_finite", "unsupported_media")

    serve(play)


def test_unknown_policies_and_conflicts_have_their_codes():
    async def play(client, _):
        codes = []
        for request in (
            body(policy="leg"),
            body(policy="small"),
            body(2),
            body(),
            body(observation=[0.0, 0.0]),
            body(5),
        ):
            answer = await client.post(STEP_PATH, json=request)
            codes.append((answer.status_code, answer.json().get("code")))
        assert codes == [
            (404, "model_unknown"),
            (404, "model_unknown"),
            (404, "session_unknown"),
            (200, None),
            (409, "seq_reused"),
            (409, "seq_conflict"),
        ]
        answer = await client.get(STEP_PATH)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    serve(play)


def test_too_many_observations_are_refused():
    answer = post(body(observations=[[0.0, 0.0]] * (MOST_OBSERVATIONS + 1)))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_items")


def test_policies_are_listed_with_their_contracts():
    async def play(client, model):
        listed = (await client.get(POLICIES_PATH)).json()["policies"]
        assert [one["model"] for one in listed] == ["arm@1"]
        assert listed[0]["contract"] == json.loads(json.dumps(model.contract.to_dict()))
        info = (await client.get("/api/v1/xlstm/info")).json()
        assert info["surfaces"] == ["forecast", "policy"]
        assert (await client.get("/readyz")).status_code == 200

    serve(play)


def test_sessions_of_policies_are_shown_handed_over_and_ended():
    async def play(client, model):
        await client.post(STEP_PATH, json=body())
        shown = (await client.get(f"{SESSIONS}/a")).json()
        assert (shown["surface"], shown["seq"], shown["model"]) == ("policy", 1, "arm@1")
        assert (await client.get("/api/v1/xlstm/sessions/forecast/a")).status_code == 404
        snapshot = (await client.post(f"{SESSIONS}/a/export")).content
        headers = {"content-type": "application/octet-stream"}
        url = f"{SESSIONS}/import?session=b"
        assert (await client.post(url, content=snapshot, headers=headers)).status_code == 200
        assert (await client.post(f"{SESSIONS}/a/fork", json={"to": "c"})).status_code == 200
        owed = Episode(model)(*[(0.5, -1.0)] * 2)[-1].tolist()
        for name in "abc":
            answer = await client.post(STEP_PATH, json=body(2, session=name))
            assert answer.json()["action"] == owed
        assert (await client.delete(f"{SESSIONS}/a")).json()["ended"] is True
        answer = await client.post(STEP_PATH, json=body(3))
        assert (answer.status_code, answer.json()["code"]) == (410, "session_expired")
        answer = await client.post(STEP_PATH, json=body(reset=True))
        assert answer.json()["episode_step"] == 1

    serve(play)


def test_many_sessions_at_once_each_get_their_own():
    async def play(client, model):
        names = [f"s{number}" for number in range(40)]
        seen = {name: draw(1, number)[0].tolist() for number, name in enumerate(names)}

        async def ask(name):
            request = body(session=name, observation=seen[name], deadline_ms=DEADLINE_MS)
            return (await client.post(STEP_PATH, json=request)).json()

        for name, answer in zip(names, await asyncio.gather(*map(ask, names)), strict=True):
            assert answer["action"] == Episode(model)(seen[name])[0].tolist()

    serve(play)


def test_how_long_a_client_waits_is_no_part_of_its_request():
    def hashed(**more):
        request = json.dumps(body(**more)).encode()
        return read_policy_step(request, Media.JSON, Settings()).request_hash

    assert hashed() == hashed(deadline_ms=5.0, on_deadline="error", session="b")
    different = [{"seq": 2}, {"reset": True}, {"observation": [0.5, 1.0]}, {"max_age_ms": 1.0}]
    different += [{"durable": "every_step"}, {"observations": [[0.5, -1.0]]}]
    assert len({hashed(), *(hashed(**more) for more in different)}) == len(different) + 1

"""F6: a state of other weights, precision or architecture is refused in plain words."""

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append
from tests.small_models import random_checkpoint
from xlstmd.models import checkpoint as checkpoints


@pytest.fixture
def sessions(forecaster):
    """Gives sessions of two steps: one for each way to meet them again."""
    rng = random.Random(6)
    made = [Reference(forecaster, name) for name in ("step", "ask", "export", "fork", "again")]
    for one in made:
        for seq in range(2):
            points, more = random_append(rng, first=seq == 0)
            one.next(points, **more)
    return {one.name: one for one in made}


def other_weights(folder):
    """Writes the shipped model, one weight a little off."""
    loaded = checkpoints.load(checkpoints.find("small"))
    name = max(loaded.weights, key=lambda one: loaded.weights[one].size)
    weights = {**loaded.weights, name: loaded.weights[name].copy()}
    weights[name].flat[0] += np.float32(0.01)
    checkpoints.save(replace(loaded, weights=weights), folder)
    return {"model": folder}


def other_layers(folder):
    """Writes a model of the same name with fewer layers."""
    checkpoints.save(random_checkpoint(name="small"), folder)
    return {"model": folder}


CHANGES = {
    "weights": other_weights,
    "layers": other_layers,
    "int8": lambda _: {"precision": "int8"},
    "bfloat16": lambda _: {"precision": "bfloat16"},
    "runtime": lambda _: {"runtime": "torch"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_f06_restart_with_another_model(change, new_daemon, sessions, tmp_path):
    daemon = new_daemon()
    daemon.start()
    with daemon.client() as client:
        for one in sessions.values():
            for body, expected in zip(one.bodies, one.expected, strict=True):
                assert_same(post(client, daemon, body).json(), expected)
        path = f"{SESSIONS}/import"
        snapshot = client.post(f"{SESSIONS}/export/export").content
    daemon.stop()
    daemon.start(**CHANGES[change](tmp_path / "model"))
    binary = {"content-type": "application/octet-stream"}
    with daemon.client() as client:
        body = sessions["step"].next([1.0], horizon=2)
        question, _ = sessions["ask"].question(3)
        answers = [
            post(client, daemon, body),
            post(client, daemon, sessions["again"].bodies[-1]),
            post(client, daemon, question),
            client.post(f"{SESSIONS}/export/export"),
            client.post(f"{SESSIONS}/fork/fork", json={"to": "other"}),
            client.post(path, params={"session": "new"}, content=snapshot, headers=binary),
            # It has heard of it by now, and does not forget it.
            post(client, daemon, body),
        ]
        for answer in answers:
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (410, "session_expired"), answer.text
            assert (problem["reason"], problem["state_advanced"]) == ("model_changed", False)
        assert client.get(f"{SESSIONS}/other").status_code == 404
        begun = post(client, daemon, {"session": "step", "seq": 1, "append": [1.0], "reset": True})
        assert begun.json()["observed"] == 1
    daemon.assert_idle()

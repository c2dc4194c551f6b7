"""F21: numbers that are none stay in their row, and nobody who has the slot next finds them."""

import asyncio
import random

import numpy as np
import pytest

from tests.chaos.feeders import Fed
from tests.chaos.lanes import TimedConnection, Told, command_of
from tests.chaos.reference import SESSIONS, Reference, post, random_append
from tests.engine.streams import NAN_MAKER, key, new_engine, step
from tests.faulty_models import NAP
from tests.told_models import STEPS, load
from xlstmd.errors import ModelFailed

GOOD = 15
TURNS = 4
LIVES = 12


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told", "told", base="small")


async def together(daemon, bodies):
    """Sends requests that are computed together: they wait while the lane is held up."""
    connections = [TimedConnection(daemon) for _ in range(len(bodies) + 1)]
    nap = {"session": f"nap-{random.random()}", "seq": 1, "append": [NAP], "model": "told"}
    try:
        held = asyncio.create_task(connections[-1].post(nap))
        await asyncio.sleep(0.3)
        answers = await asyncio.gather(
            *(one.post(body) for one, body in zip(connections, bodies, strict=False))
        )
        await held
    finally:
        await asyncio.gather(*(one.close() for one in connections))
    return answers


def test_f21_only_the_caller_of_the_row_is_told(new_daemon, told, forecaster):
    daemon = new_daemon(command=command_of(told))
    daemon.start()
    rng = random.Random(21)
    sessions = [Fed(Reference(forecaster, f"good-{n}")) for n in range(GOOD)]
    bad = Fed(Reference(forecaster, "bad"))
    with daemon.client() as client:
        for turn in range(TURNS):
            for fed in (*sessions, bad):
                points, more = random_append(rng, first=turn == 0)
                fed.reference.next(points, **more, **({} if turn else {"model": "told"}))
            spoiled = {**bad.reference.bodies[-1], "append": [1.0, NAN_MAKER]}
            if turn % 2:
                spoiled.pop("horizon", None)
            else:
                spoiled["horizon"] = 5
            told.forget(STEPS)
            bodies = [*(fed.reference.bodies[-1] for fed in sessions), spoiled]
            *good, (status, _, problem) = asyncio.run(together(daemon, bodies))
            # One call of the model had them all, beside that which held it up.
            assert max(int(line.split()[0]) for line in told.notes(STEPS)) == len(bodies)
            assert (status, problem["code"]) == (500, "internal"), problem
            assert problem["state_advanced"] is False
            for fed, (status, _, answer) in zip(sessions, good, strict=True):
                assert status == 200, answer
                fed.take(answer)
            # Its stream is as it was: the step that it should have been is the next one.
            answer = post(client, daemon, bad.reference.bodies[-1])
            assert answer.status_code == 200, answer.text
            bad.take(answer.json())
        assert daemon.total("xlstmd_nonfinite_total", where="output", model="told") == TURNS
        for fed in (*sessions, bad):
            fed.reference.check(client, daemon)
    daemon.assert_idle()


def test_f21_the_next_user_of_a_slot_finds_nothing_in_it(new_daemon, told, forecaster):
    daemon = new_daemon(command=command_of(told), session_bytes=forecaster.slot_bytes)
    daemon.start()
    rng = random.Random(210)
    with daemon.client() as client:
        for life in range(LIVES):
            fed = Fed(Reference(forecaster, f"life-{life}"))
            for turn in range(2):
                points, more = random_append(rng, first=turn == 0)
                fed.reference.next(points, **more, **({} if turn else {"model": "told"}))
                fed.take(post(client, daemon, fed.reference.bodies[-1]).json())
            fed.reference.check(client, daemon)
            spoiled = {"session": fed.reference.name, "seq": 3, "append": [NAN_MAKER], "horizon": 2}
            assert post(client, daemon, spoiled).status_code == 500
            if life % 3:
                fed.reference.check(client, daemon)
            assert client.delete(f"{SESSIONS}/{fed.reference.name}").status_code == 200
    daemon.assert_idle()


def test_f21_nothing_of_it_stays_in_any_slot(tmp_path):
    """The same from inside, where all bytes of all slots can be looked at."""

    async def law():
        model = load(tmp_path, base="small")
        engine = new_engine(model, rooms=2)
        await engine.start()
        arena = engine._keepers[0]._lane._worker._streams.arena._arena
        fresh = {name: array.tobytes() for name, array in arena.export(0).items()}
        for life in range(3):
            name = f"life-{life}"
            await engine.sessions.append(step(name, 1, 1.0, 2.0, 4.0))
            with pytest.raises(ModelFailed):
                await engine.sessions.append(step(name, 2, 3.0, NAN_MAKER))
            assert np.isnan(arena.state).any()
            await engine.sessions.end(key(name))
            assert _is_fresh(arena, fresh)
        await engine.drain(5.0)

    asyncio.run(law())


def _is_fresh(arena, fresh):
    return all(
        array.tobytes() == fresh[name]
        for slot in range(arena.slots)
        for name, array in arena.export(slot).items()
    )

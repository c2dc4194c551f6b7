"""F23: a stream's numbers are the same to the last bit, whatever the batches its steps were in."""

import asyncio
import random

import numpy as np

from tests.chaos.feeders import Fed
from tests.chaos.reference import Reference, random_append
from tests.chaos.swarm import Connection
from tests.engine.streams import LEVELS
from xlstmd.models.stream_step import StreamStep

SIZES = (1, 2, 4, 8, 16)
STEPS = 1_000
SESSIONS = 24
HTTP_STEPS = 30


def steps_of(rng, rows):
    """Gives what each of some streams takes in one turn: points, and what is asked after them."""
    return [
        {
            "values": np.where(rng.random(count) < 0.05, np.nan, rng.normal(size=count)),
            "horizon": int(rng.choice((0, 1, 5, 33))) if turn_asks else 0,
            "quantile_levels": LEVELS,
            "anomaly_rate": 0.1 if scored else None,
        }
        for count, turn_asks, scored in zip(
            rng.choice((1, 1, 1, 2, 7, 40), size=rows),
            rng.random(rows) < 0.3,
            rng.random(rows) < 0.3,
            strict=True,
        )
    ]


def answer_bytes(answer):
    """Gives all of an answer as bytes."""
    parts = [str(answer.observed).encode(), repr(answer.error).encode()]
    if answer.forecast is not None:
        parts += [
            getattr(answer.forecast, name).tobytes() for name in ("mean", "median", "quantiles")
        ]
    if answer.scores is not None:
        parts += [
            getattr(answer.scores, name).tobytes() for name in ("quantile", "surprise", "flag")
        ]
    return b"|".join(parts)


def test_f23_streams_are_the_same_in_batches_of_every_size(forecaster):
    rng = np.random.default_rng(23)
    rows = max(SIZES)
    # Each stream lies in every host, in slots of another order.
    hosts = {size: forecaster.streams(rows) for size in SIZES}
    places = {size: rng.permutation(rows) for size in SIZES}
    for turn in range(STEPS):
        asked = steps_of(rng, rows)
        if turn == 0:
            for one in asked:
                one["values"] = np.array([rng.normal()])
        wanted = None
        for size, host in hosts.items():
            order = rng.permutation(rows)
            given = [b""] * rows
            for start in range(0, rows, size):
                batch = order[start : start + size]
                answers = host.run(
                    [StreamStep(slot=int(places[size][row]), **asked[row]) for row in batch]
                )
                for row, answer in zip(batch, answers, strict=True):
                    given[row] = answer_bytes(answer)
            wanted = wanted or given
            assert given == wanted, f"turn {turn}, batches of {size}"
    for row in range(rows):
        states = [
            b"".join(part.tobytes() for part in host.arena.export(int(places[size][row])).values())
            for size, host in hosts.items()
        ]
        assert len(set(states)) == 1


def test_f23_sessions_in_random_batches_equal_streams_alone(new_daemon, forecaster):
    daemon = new_daemon()
    daemon.start()
    rng = random.Random(23)
    sessions = [Fed(Reference(forecaster, f"s{n}")) for n in range(SESSIONS)]
    for fed in sessions:
        for turn in range(HTTP_STEPS):
            points, more = random_append(rng, first=turn == 0)
            fed.reference.next(points, **more)
    before = daemon.metrics()

    async def feed(fed):
        connection = Connection(daemon.port)
        for body in fed.reference.bodies:
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() * 0.01)
            status, _, answer = await connection.post(body)
            daemon.note_sent()
            assert status == 200, answer
            fed.take(answer)
        await connection.close()

    async def feed_all():
        await asyncio.gather(*map(feed, sessions))

    asyncio.run(feed_all())
    sizes = batch_sizes(daemon, before)
    print(f"\nF23: {SESSIONS * HTTP_STEPS} steps; calls of the model by rows, up to: {sizes}")
    assert sum(count for bound, count in sizes.items() if bound > 1) > 0
    with daemon.client() as client:
        for fed in sessions:
            fed.reference.check(client, daemon)
    daemon.assert_idle()


def batch_sizes(daemon, before):
    """Gives how many calls the model has had since, by the bound of their rows."""
    name, sizes, below = "xlstmd_batch_rows_bucket", {}, 0.0
    old = {one.labels["le"]: one.value for one in before if one.name == name}
    new = {one.labels["le"]: one.value for one in daemon.metrics() if one.name == name}
    for bound in sorted(new, key=float):
        count = new[bound] - old.get(bound, 0.0)
        if count > below:
            sizes[float(bound)] = count - below
        below = count
    return sizes

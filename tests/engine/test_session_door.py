"""The door of all sessions: those who are sent away do not come back together."""

import math
from collections import Counter

import pytest

from tests.fakes import ManualClock
from xlstmd.engine.session_door import SessionDoor
from xlstmd.engine.session_rush import MOST_SPREAD_S
from xlstmd.errors import Overloaded


def full_door(clock, expected_s=0.0, rooms=1):
    return SessionDoor(
        max_requests=rooms, max_bytes=100, expected_s=lambda: expected_s, clock=clock
    )


def refuse(door):
    """Gives the seconds that somebody is told to wait."""
    with pytest.raises(Overloaded) as caught, door.passage():
        pass
    return caught.value.retry_after_s


@pytest.mark.parametrize("expected_s", [0.0, 0.5, 5.0, 30.0, 1e6])
def test_those_refused_together_are_told_different_whole_seconds(expected_s):
    door = full_door(ManualClock(), expected_s)
    with door.passage():
        told = Counter(math.ceil(refuse(door)) for _ in range(600))
    assert door.requests == 0
    assert len(told) >= 3
    assert max(told.values()) < 300
    assert min(told) > min(expected_s, 60.0)
    assert max(told) <= 75


def test_a_rush_is_spread_over_the_time_that_serving_it_takes():
    clock = ManualClock()
    door = full_door(clock, rooms=2)
    with door.passage():
        refused = serve_for_a_second(door, clock, refusals=400)
        # A hundred a second were done, and four hundred are away: about four seconds for them.
        assert refused <= 1.0 + 3.0
        refused = serve_for_a_second(door, clock, refusals=1_000)
        assert 8.0 < refused <= 1.0 + 1_400 / 100
        # What is measured in the worst of it may be wrong: there is a bound.
        refused = serve_for_a_second(door, clock, refusals=20_000)
        assert 14.0 < refused <= 1.0 + MOST_SPREAD_S
        # Once they could all have been here, it is as before.
        clock.advance(100.0)
        assert serve_for_a_second(door, clock, refusals=100) <= 1.0 + 3.0


def serve_for_a_second(door, clock, refusals):
    """Serves a hundred and refuses some meanwhile; gives the longest wait that somebody is told."""
    told = []
    for _ in range(100):
        with door.passage():
            told += [refuse(door) for _ in range(refusals // 100)]
        clock.advance(0.01)
    return max(told)

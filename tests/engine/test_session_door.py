"""The door of all sessions: those who are sent away do not come back together."""

import math
from collections import Counter

import pytest

from xlstmd.engine.session_door import SessionDoor
from xlstmd.errors import Overloaded


@pytest.mark.parametrize("expected_s", [0.0, 0.5, 5.0, 30.0, 1e6])
def test_those_refused_together_are_told_different_whole_seconds(expected_s):
    door = SessionDoor(max_requests=1, max_bytes=100, expected_s=lambda: expected_s)
    told = Counter()
    with door.passage():
        for _ in range(600):
            with pytest.raises(Overloaded) as caught, door.passage():
                pass
            told[math.ceil(caught.value.retry_after_s)] += 1
    assert door.requests == 0
    assert len(told) >= 3
    assert max(told.values()) < 300
    assert min(told) > min(expected_s, 60.0)
    assert max(told) <= 75

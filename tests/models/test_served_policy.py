"""Policies as a daemon runs them: memories in slots, rows that do not touch each other."""

import numpy as np
import pytest

from tests.small_policies import KINDS, draw_observations, make_contract, random_policy
from xlstmd.errors import ModelFailed, SnapshotDamaged
from xlstmd.models.observation_statistics import ObservationStatistics
from xlstmd.models.policy_step import PolicyStep
from xlstmd.models.served_policy import ServedPolicy
from xlstmd.models.usual_observations import UsualObservations


def moves(host, seen, slots):
    return host.run(
        [PolicyStep(slot=slot, observations=one) for slot, one in zip(slots, seen, strict=True)]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_steps_in_slots_are_a_pass(kind):
    policy = random_policy(kind)
    seen = draw_observations(kind, 70, 3)
    host = ServedPolicy(policy).streams(80)
    slots = np.random.default_rng(0).permutation(80)[:70].tolist()
    answers = moves(host, seen, slots)
    assert all(answer.is_sound.all() for answer in answers)
    actions = np.stack([answer.actions for answer in answers])
    np.testing.assert_allclose(actions, policy.replay(seen), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_and_among_others_is_the_same_to_the_bit(kind):
    policy = ServedPolicy(random_policy(kind))
    seen = draw_observations(kind, 5, 4)
    together, alone = policy.streams(5), policy.streams(5)
    answers = moves(together, seen, range(5))
    for slot in range(5):
        (answer,) = moves(alone, seen[slot : slot + 1], [slot])
        assert answer.actions.tobytes() == answers[slot].actions.tobytes()
        one, other = (host.arena.export(slot)["state"] for host in (together, alone))
        assert one.tobytes() == other.tobytes()


def test_rows_of_different_length_and_none():
    policy = ServedPolicy(random_policy("clipped"))
    seen = draw_observations("clipped", 3, 4)
    host, whole = policy.streams(3), policy.streams(3)
    lengths = (4, 0, 2)
    answers = moves(
        host, [one[:length] for one, length in zip(seen, lengths, strict=True)], range(3)
    )
    owed = moves(whole, seen, range(3))
    for answer, other, length in zip(answers, owed, lengths, strict=True):
        assert answer.actions.shape == (length, 2)
        np.testing.assert_array_equal(answer.actions, other.actions[:length])
    assert moves(host, [], []) == []


def test_a_memory_that_would_not_be_finite_stays_as_it_was():
    policy = random_policy("clipped")
    host, other = ServedPolicy(policy).streams(2), ServedPolicy(policy).streams(2)
    seen = draw_observations("clipped", 2, 1)
    for one in (host, other):
        moves(one, seen, (0, 1))
    encode = policy.encoder

    def spoil(observations):
        inputs = encode(observations)
        inputs[observations[:, 0] > 1e6] = np.nan
        return inputs

    policy.encoder = spoil
    bad = np.stack([seen[0], np.full((1, 2), 1e9)])
    answers = moves(host, bad, (0, 1))
    assert [answer.is_sound.tolist() for answer in answers] == [[True], [False]]
    policy.encoder = encode
    moves(other, seen[:1], [0])
    for slot in (0, 1):
        one, two = (each.arena.export(slot)["state"] for each in (host, other))
        assert one.tobytes() == two.tobytes()


def test_memories_are_copied_cleared_and_handed_over():
    policy = ServedPolicy(random_policy("discrete"))
    host = policy.streams(3)
    empty = host.arena.export(2)["state"]
    moves(host, draw_observations("discrete", 1, 3), [0])
    host.arena.copy(0, 1)
    exported = host.arena.export(1)
    assert exported["state"].nbytes == policy.slot_bytes
    host.arena.clear(0)
    assert host.arena.export(0)["state"].tobytes() == empty.tobytes()
    host.arena.restore(2, exported)
    assert host.arena.export(2)["state"].tobytes() == exported["state"].tobytes()
    broken = [{}, {"state": empty[:-1]}, {"state": empty.astype(np.float64)}]
    broken += [{"state": np.full_like(empty, np.nan)}, exported | {"more": empty}]
    for arrays in broken:
        with pytest.raises(SnapshotDamaged):
            host.arena.restore(0, arrays)


def test_one_that_cannot_act_is_found_out():
    policy = random_policy("clipped")
    served = ServedPolicy(policy)
    served.try_out()
    policy.encoder = lambda seen: np.full((len(seen), 2), np.nan, dtype=np.float32)
    with pytest.raises(ModelFailed):
        served.try_out()


def test_what_training_saw_is_usual_and_what_is_far_from_it_is_not():
    rng = np.random.default_rng(1)
    # Two numbers that move together: each alone says little.
    first = rng.normal(size=(2000, 1))
    seen = np.concatenate([first, first + 0.1 * rng.normal(size=(2000, 1))], axis=1)
    statistics = ObservationStatistics.empty(2).updated(seen)
    usual = UsualObservations.of(make_contract(), statistics)
    again = UsualObservations.from_dict(usual.to_dict())
    inside = np.clip(seen, -1.0, np.inf)
    assert usual(inside).mean() > 0.99
    odd = np.array([[0.0, -1.01], [9.0, 0.0], [1e308, -0.5], [2.5, -0.9]])
    assert not usual(odd).any()
    np.testing.assert_array_equal(
        again(np.concatenate([odd, inside])), usual(np.concatenate([odd, inside]))
    )


def test_without_training_only_the_contract_bounds_observations():
    usual = UsualObservations.of(make_contract(), ObservationStatistics.empty(2))
    seen = np.array([[1e300, 0.0], [0.0, -1.1], [0.0, 1e9], [0.0, -1.0 - 1e-7]])
    assert usual(seen).tolist() == [True, False, True, True]

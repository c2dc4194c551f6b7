"""The card games against their rules, played slowly; an optimal player gets exactly 1."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from xlstmd.train.policy.card_games import DECK, SUITS, RepeatFirst, RepeatPrevious

TABLES = 6


def play(game, player, steps, seed=0):
    """Plays a player that sees the cards of its episode; gives rewards, ends and cards."""
    visible, _ = game.reset(seed=seed)
    hands = [[int(card)] for card in visible]
    rewards, ends, shown = [], [], []
    for _ in range(steps):
        actions = np.array([player(hand) for hand in hands])
        visible, reward, terminated, truncated, information = game.step(actions)
        assert not truncated.any()
        for row, card in enumerate(visible):
            if terminated[row]:
                last = int(information["final_obs"][row])
                shown.append([*hands[row], last])
                hands[row] = []
            hands[row].append(int(card))
        rewards.append(reward)
        ends.append(terminated)
    return np.array(rewards), np.array(ends), shown


@pytest.mark.parametrize(
    ("make", "player"),
    [
        (RepeatPrevious, lambda hand: hand[-4] if len(hand) >= 4 else 0),
        (RepeatFirst, lambda hand: hand[0]),
    ],
)
def test_the_best_player_gets_one_and_the_worst_minus_one(make, player):
    for shift, best in ((0, 1.0), (1, -1.0)):
        rewards, ends, shown = play(
            make(TABLES), lambda hand, shift=shift: (player(hand) + shift) % SUITS, 2 * (DECK - 1)
        )
        np.testing.assert_allclose(rewards.sum(axis=0), 2 * best)
        np.testing.assert_array_equal(ends.sum(axis=0), 2)
        assert ends[DECK - 2].all()
        for cards in shown:
            np.testing.assert_array_equal(np.bincount(cards), DECK // SUITS)


def test_nothing_is_paid_before_there_is_a_card_to_name():
    rewards, _, _ = play(RepeatPrevious(TABLES), lambda hand: 0, 5)
    assert not rewards[:3].any()
    assert (np.abs(rewards[3:]) == 1.0 / (DECK - 4)).all()


def test_decks_are_shuffled_together():
    rewards, ends, shown = play(RepeatFirst(2, num_decks=3), lambda hand: hand[0], 3 * DECK - 1)
    np.testing.assert_allclose(rewards.sum(axis=0), 1.0)
    assert ends[-1].all()
    assert not ends[:-1].any()
    np.testing.assert_array_equal(np.bincount(shown[0]), 3 * DECK // SUITS)


def test_a_seed_is_a_game():
    games = [play(RepeatFirst(TABLES), lambda hand: 0, 60, seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(games[0], games[1])
    assert (games[0] != games[2]).any()

"""Learning: advantages, rollouts, updates, whole runs."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models.policy import load_policy
from xlstmd.train.policy import run as run_module
from xlstmd.train.policy.actor_critic import ActorCritic
from xlstmd.train.policy.advantages import RewardScale, generalized_advantages
from xlstmd.train.policy.environments import environment
from xlstmd.train.policy.evaluation import evaluate_policy
from xlstmd.train.policy.ppo import PPO
from xlstmd.train.policy.ppo_config import PPOConfig
from xlstmd.train.policy.recipes import architecture
from xlstmd.train.policy.rollout import Collector, Rollout
from xlstmd.train.policy.run import PolicyRun, train_policy

QUICK = PPOConfig(
    total_steps=1536,
    num_envs=4,
    rollout_steps=64,
    segment=32,
    epochs=2,
    batch_segments=4,
    trial_episodes=2,
)
NAMES = ("cartpole-no-velocity", "pendulum-no-velocity", "repeat-first-easy")


def make_collector(name, seed=0, **more):
    """Gives a collector with a model that knows nothing."""
    torch.manual_seed(seed)
    model = ActorCritic(architecture(name), log_std=-0.5, forget_bias=4.0, input_bias=0.0)
    spec = environment(name)
    collector = Collector(spec.make(4), architecture(name), spec.contract, seed=seed, **more)
    return collector, model


def random_rollout(rng, rows=3, steps=17):
    """Gives a rollout of which only what advantages depend on is filled."""
    ends = rng.random((rows, steps)) < 0.2
    empty = np.zeros((rows, steps, 1), dtype=np.float32)
    return Rollout(
        inputs=empty,
        actions=empty,
        outputs=empty,
        values=rng.normal(size=(rows, steps)).astype(np.float32),
        rewards=rng.normal(size=(rows, steps)),
        cut_values=np.where(ends & (rng.random((rows, steps)) < 0.5), 7.0, 0.0),
        starts=np.zeros((rows, steps), dtype=bool),
        ends=ends,
        last_values=rng.normal(size=rows).astype(np.float32),
        states=np.zeros((1, rows, 1), dtype=np.float32),
    )


def test_advantages_are_sums_of_discounted_surprises():
    rollout = random_rollout(np.random.default_rng(0))
    found = generalized_advantages(rollout, rollout.rewards, discount=0.9, decay=0.7)
    rows, steps = rollout.rewards.shape
    for row in range(rows):
        for start in range(steps):
            expected, weight = 0.0, 1.0
            for step in range(start, steps):
                after = (
                    rollout.cut_values[row, step]
                    if rollout.ends[row, step]
                    else rollout.last_values[row]
                    if step == steps - 1
                    else rollout.values[row, step + 1]
                )
                surprise = rollout.rewards[row, step] + 0.9 * after - rollout.values[row, step]
                expected += weight * surprise
                weight *= 0.9 * 0.7
                if rollout.ends[row, step]:
                    break
            assert found[row, start] == pytest.approx(expected)


def test_the_scale_of_rewards_is_the_deviation_of_returns():
    rng = np.random.default_rng(1)
    rollouts = [random_rollout(rng, 2, steps) for steps in (5, 30)]
    scale, returns, running = RewardScale(np.zeros(2)), [], np.zeros(2)
    for rollout in rollouts:
        scale.update(rollout, 0.9)
        for step in range(rollout.rewards.shape[1]):
            running = 0.9 * running + rollout.rewards[:, step]
            returns.append(running)
            running = np.where(rollout.ends[:, step], 0.0, running)
    assert scale.factor == pytest.approx(1.0 / np.std(returns))


@pytest.mark.parametrize("name", NAMES)
def test_a_rollout_is_what_the_network_says_of_its_sequences(name):
    collector, model = make_collector(name)
    collector.collect(model, 32, 32)
    rollout = collector.collect(model, 64, 16)
    assert rollout.starts.any() or name == "pendulum-no-velocity"
    empty = model.policy.init_state(1)
    for segment in range(4):
        place = slice(16 * segment, 16 * segment + 16)
        with torch.no_grad():
            outputs, values = model(
                torch.from_numpy(rollout.inputs[:, place]),
                empty.from_flat(torch.from_numpy(rollout.states[segment])),
                torch.from_numpy(rollout.starts[:, place]),
            )
        np.testing.assert_allclose(outputs.numpy(), rollout.outputs[:, place], atol=2e-5)
        np.testing.assert_allclose(values.numpy(), rollout.values[:, place], atol=2e-5)


def test_where_time_runs_out_the_critic_says_what_would_have_come():
    collector, model = make_collector("pendulum-no-velocity")
    rollout = collector.collect(model, 250, 250)
    np.testing.assert_array_equal(np.flatnonzero(rollout.ends[0]), [199])
    assert (rollout.cut_values[:, 199] != 0.0).all()
    assert not np.delete(rollout.cut_values, 199, axis=1).any()
    assert collector.episodes.count == 4


def test_noise_has_the_memory_it_is_told():
    collector, model = make_collector("pendulum-no-velocity", noise_memory=0.9)
    rollout = collector.collect(model, 200, 200)
    noise = ((rollout.actions - rollout.outputs) / np.exp(-0.5))[..., 0]
    likeness = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    assert 0.8 < likeness < 0.97
    assert 0.5 < noise.std() < 1.5


@pytest.mark.parametrize("name", NAMES)
def test_an_update_makes_good_actions_likelier(name):
    collector, model = make_collector(name)
    rollout = collector.collect(model, QUICK.rollout_steps, QUICK.segment)
    # The larger the first number of an action, the better.
    rollout = replace(rollout, rewards=rollout.actions[..., 0].astype(np.float64))
    config = replace(QUICK, epochs=10, discount=0.0, scale_rewards=False)
    losses = PPO(model, config, seed=0).update(rollout, 0.0)
    assert losses.distance > 0.0
    again = collector.collect(model, QUICK.rollout_steps, QUICK.segment)
    assert again.actions[..., 0].mean() > rollout.actions[..., 0].mean() + 0.1


def test_no_pass_follows_one_that_went_too_far():
    passes = []
    for limit in (0.0, float("inf")):
        collector, model = make_collector("cartpole-no-velocity")
        rollout = collector.collect(model, QUICK.rollout_steps, QUICK.segment)
        ppo = PPO(model, replace(QUICK, epochs=5, max_distance=limit), seed=0)
        ppo.update(rollout, 0.0)
        state = ppo.optimizer.state[model.critic.weight]
        passes.append(int(state["step"]) / 2)
    assert passes[0] < passes[1] == 5


def test_log_probabilities_are_those_of_torch():
    discrete = ActorCritic(
        architecture("repeat-first-easy"), log_std=0.0, forget_bias=4.0, input_bias=0.0
    )
    logits, chosen = torch.randn(5, 3, 4), torch.randint(4, (5, 3, 1))
    logs, entropy = discrete.log_probability(logits, chosen)
    known = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(logs, known.log_prob(chosen[..., 0]))
    torch.testing.assert_close(entropy, known.entropy())
    continuous = ActorCritic(
        architecture("pendulum-no-velocity"), log_std=-0.3, forget_bias=4.0, input_bias=0.0
    )
    mean, action = torch.randn(5, 3, 1), torch.randn(5, 3, 1)
    logs, entropy = continuous.log_probability(mean, action)
    normal = torch.distributions.Normal(mean, torch.tensor(-0.3).exp())
    torch.testing.assert_close(logs, normal.log_prob(action)[..., 0])
    torch.testing.assert_close(entropy, normal.entropy()[..., 0])


@pytest.fixture
def quick(monkeypatch):
    """Makes every recipe a matter of seconds."""
    monkeypatch.setattr(run_module, "recipe", lambda name: QUICK)


def test_a_run_ends_with_a_policy_and_a_curve(quick, tmp_path):
    train_policy("cartpole-no-velocity", tmp_path, seed=3)
    policy = load_policy(tmp_path / "model")
    assert policy.checkpoint.training["seed"] == 3
    assert policy.checkpoint.training["steps"] == QUICK.total_steps
    with (tmp_path / "returns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["steps"]) for row in rows] == list(range(256, 1537, 256))
    assert all(row["return"] for row in rows)
    spec = environment("cartpole-no-velocity")
    found = [evaluate_policy(policy, spec, 11, seed=seed) for seed in (5, 5, 6)]
    assert len(found[0].returns) == 11
    assert found[0].steps == found[0].returns.sum()
    np.testing.assert_array_equal(found[0].returns, found[1].returns)
    assert (found[0].returns != found[2].returns).any()


def test_the_same_seed_is_the_same_policy(quick, tmp_path):
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_policy("repeat-first-easy", tmp_path / place, seed=seed)
    hashes = [load_policy(tmp_path / place / "model").checkpoint.sha256 for place in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]


class Cut(Exception):
    pass


def cut_at(place, run):
    """Gives a listener that saves a run and ends it after so many steps."""

    def listen(steps, line):
        if steps == place:
            run.save()
            raise Cut

    return listen


def test_a_run_that_was_cut_off_before_a_trial_goes_on_too(tmp_path):
    config = replace(QUICK, total_steps=10_240)
    run = PolicyRun("repeat-first-easy", config, tmp_path, seed=0)
    with pytest.raises(Cut):
        run.run(cut_at(256, run))
    again = PolicyRun("repeat-first-easy", config, tmp_path, seed=0)
    assert again.resume()
    with pytest.raises(CheckpointError, match="expected a run with a trial, got 256 steps"):
        again.checkpoint()
    with pytest.raises(Cut):
        again.run(cut_at(768, again))
    assert again.checkpoint().training["best_steps"] == 512


def test_a_run_that_was_cut_off_goes_on(tmp_path):
    run = PolicyRun("pendulum-no-velocity", QUICK, tmp_path, seed=0)
    with pytest.raises(Cut):
        run.run(cut_at(768, run))
    again = PolicyRun("pendulum-no-velocity", QUICK, tmp_path, seed=0)
    assert again.resume()
    assert again.steps == 768
    for name, parameter in run._model.state_dict().items():
        torch.testing.assert_close(again._model.state_dict()[name], parameter)
    np.testing.assert_array_equal(again._collector.statistics.mean, run._collector.statistics.mean)
    again.run(lambda steps, line: None)
    assert again.steps == QUICK.total_steps
    with pytest.raises(CheckpointError, match="expected seed 1, got 0"):
        PolicyRun("pendulum-no-velocity", QUICK, tmp_path, seed=1).resume()


def test_recipes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="multiple of segment 50"):
        replace(QUICK, segment=50)
    with pytest.raises(ConfigError, match="epochs: expected 1 or more"):
        replace(QUICK, epochs=0)

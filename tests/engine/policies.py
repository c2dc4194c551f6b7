"""Policies for tests of sessions: a fake one whose memory tells all it has seen, and a replay."""

import asyncio
import threading
from hashlib import blake2b

import numpy as np

from tests.engine.streams import FakeArena
from xlstmd.engine.policy_guards import PolicyGuards
from xlstmd.engine.policy_tasks import PolicyTask
from xlstmd.engine.session_record import SessionKey
from xlstmd.models.policy_contract import ActionField, ObservationField, PolicyContract
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep

POISON = 6.66
NAN_ACTION = 7.77
NAN_STATE = 8.88
HUGE_ACTION = 9.99
USUAL = 10.0
LOW, HIGH = np.array([-1.0, 0.0]), np.array([1.0, 2.0])
DEADLINE_MS = 10_000.0


def make_contract(**more):
    """Gives a contract of two observations and two actions."""
    fields = {
        "observations": (ObservationField(name="place"), ObservationField(name="angle")),
        "actions": (
            ActionField(name="force", low=-1.0, high=1.0),
            ActionField(name="valve", low=0.0, high=2.0),
        ),
        "step_ms": 20.0,
        "deadline_ms": DEADLINE_MS,
        "valid_for_ms": 50.0,
    }
    return PolicyContract(**fields | more)


class FakePolicyHost:
    """Runs steps; poison breaks the whole call after all slots were written."""

    def __init__(self, slots, model=None):
        self.arena = FakeArena(slots)
        self._model = model

    def run(self, steps):
        if self._model is not None:
            self._model.enter(steps)
        answers = [self._step(step) for step in steps]
        if any((step.observations == POISON).any() for step in steps):
            raise RuntimeError("poison")
        return answers

    def _step(self, step):
        state = self.arena.state[step.slot]
        actions, is_sound = [], []
        for seen in step.observations:
            before = state.copy()
            state[:3] = 0.75 * state[0] + np.sin(seen.sum()), state[1] + 1, seen[0]
            action = np.array([np.sin(state[0]), 1.0 + np.cos(state[0] + state[1])])
            if (seen == HUGE_ACTION).any():
                action = np.array([1e30, -1e30])
            if (seen == NAN_ACTION).any():
                action = np.array([np.nan, 0.0])
            sound = not (seen == NAN_STATE).any() and bool(np.isfinite(action).all())
            if not sound:
                state[:] = before
            actions.append(action)
            is_sound.append(sound)
        return PolicyAnswer(
            actions=np.array(actions).reshape(-1, 2), is_sound=np.array(is_sound, dtype=np.bool_)
        )


class FakePolicy:
    """A policy that computes only while `release` is set."""

    slot_bytes = 32

    def __init__(self, name="arm", version="1", fingerprint="p1", **contract):
        self.name = name
        self.version = version
        self.identity = f"{name}@{version}"
        self.fingerprint = fingerprint
        self.contract = make_contract(**contract)
        self.batches = []
        self.release = threading.Event()
        self.release.set()
        self.entered = threading.Event()

    @property
    def guards(self):
        """Says what is usual: numbers up to ten."""
        bound = [USUAL, USUAL]
        usual = {"low": [-USUAL, -USUAL], "high": bound, "mean": [0.0, 0.0]}
        usual |= {"scale": np.eye(2).tolist(), "farthest": float("inf")}
        return {"contract": self.contract.to_dict(), "usual": usual}

    def describe(self):
        """Says what there is to say."""
        return {"name": self.name, "kind": "policy", "contract": self.contract.to_dict()}

    def streams(self, slots):
        """Allocates."""
        return FakePolicyHost(slots, self)

    def try_out(self):
        """Is well."""

    def enter(self, steps):
        """Notes a call, and waits until it may go on."""
        self.batches.append([len(step.observations) for step in steps])
        self.entered.set()
        if not self.release.wait(20.0):
            raise TimeoutError("nobody released the model")

    async def until_entered(self):
        """Waits until the model is being called, then forgets it."""
        await asyncio.to_thread(self.entered.wait, 5.0)
        self.entered.clear()


class Episode:
    """An episode of its own: the actions that a session owes."""

    def __init__(self, model):
        self.host = FakePolicyHost(1) if isinstance(model, FakePolicy) else model.streams(1)
        self.guards = PolicyGuards(model.guards)

    def __call__(self, *observations):
        step = PolicyStep(slot=0, observations=np.array(observations))
        (answer,) = self.host.run([step])
        return np.array([self.guards.contract.bounded(action) for action in answer.actions])


def key(name="a", tenant="t"):
    """Gives the key of a session."""
    return SessionKey(tenant, "policy", name)


def step(name, seq, *observations, tenant="t", policy="arm", **more):
    """Gives a request, with the hash of all of it but its deadline."""
    array = np.array(observations, dtype=np.float64)
    content = {one: more[one] for one in more if one not in ("deadline_ms", "on_deadline")}
    text = f"{tenant} {name} {seq} {array.tobytes()} {policy} {content}"
    return PolicyTask(
        key=key(name, tenant),
        seq=seq,
        observations=array,
        is_replay=len(observations) > 1,
        policy=policy,
        request_hash=blake2b(text.encode(), digest_size=16).digest(),
        **more,
    )


def draw(count, seed=0):
    """Gives usual observations."""
    return np.random.default_rng(seed).uniform(-5.0, 5.0, size=(count, 2))

"""The environments that policies are trained in and scored on, with the contracts of policies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gymnasium.vector import VectorEnv

from xlstmd.errors import ConfigError
from xlstmd.models.policy_contract import ActionField, ObservationField, PolicyContract
from xlstmd.train.policy.card_games import RepeatFirst, RepeatPrevious
from xlstmd.train.policy.no_velocity import make_no_velocity
from xlstmd.train.policy.t_maze import TMaze

Environments = VectorEnv[Any, Any, Any]

SUITS: Final = ("spades", "diamonds", "clubs", "hearts")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """One kind of environment.

    Attributes:
      name: for people and commands.
      make: gives so many of them, which start anew in the step that ends an episode.
      contract: of policies in it.
      episodes: that a score is the mean of, where published protocols say so.
      goal: mean return to be reached.
    """

    name: str
    make: Callable[[int], Environments]
    contract: PolicyContract
    episodes: int
    goal: float


def _loop(
    observations: tuple[ObservationField, ...],
    action: ActionField,
    *,
    step_ms: float,
    fallback: str = "hold",
) -> PolicyContract:
    """Gives a contract of a control loop: answers within a step, none older than two."""
    return PolicyContract(
        observations=observations,
        actions=(action,),
        step_ms=step_ms,
        fallback=fallback,
        max_age_ms=2.0 * step_ms,
        deadline_ms=step_ms,
        valid_for_ms=2.0 * step_ms,
    )


def _card_game() -> PolicyContract:
    return _loop(
        (ObservationField(name="suit", low=0, high=3, choices=SUITS),),
        ActionField(name="named_suit", low=0, high=3, choices=SUITS),
        step_ms=1000.0,
    )


def _t_maze() -> PolicyContract:
    return _loop(
        (
            ObservationField(name="sign", low=-1.0, high=1.0),
            ObservationField(name="junction", low=0.0, high=1.0),
        ),
        ActionField(name="move", low=0, high=3, choices=("onward", "left", "right", "back")),
        step_ms=100.0,
    )


_CART_POLE: Final = EnvironmentSpec(
    name="cartpole-no-velocity",
    make=partial(make_no_velocity, "CartPole-v1"),
    contract=_loop(
        (
            ObservationField(name="cart_position", unit="m", low=-4.8, high=4.8),
            ObservationField(name="pole_angle", unit="rad", low=-0.418879, high=0.418879),
        ),
        ActionField(name="push", low=0, high=1, choices=("left", "right")),
        step_ms=20.0,
    ),
    episodes=300,
    goal=500.0,
)

_PENDULUM: Final = EnvironmentSpec(
    name="pendulum-no-velocity",
    make=partial(make_no_velocity, "Pendulum-v1"),
    contract=_loop(
        (
            ObservationField(name="cosine", low=-1.0, high=1.0),
            ObservationField(name="sine", low=-1.0, high=1.0),
        ),
        ActionField(name="torque", unit="N m", low=-2.0, high=2.0),
        step_ms=50.0,
        fallback="zero",
    ),
    episodes=750,
    goal=-175.0,
)

_MOUNTAIN_CAR: Final = EnvironmentSpec(
    name="mountain-car-continuous-no-velocity",
    make=partial(make_no_velocity, "MountainCarContinuous-v0"),
    contract=_loop(
        (ObservationField(name="position", low=-1.2, high=0.6),),
        ActionField(name="force", low=-1.0, high=1.0),
        step_ms=20.0,
        fallback="zero",
    ),
    episodes=1340,
    goal=91.5,
)


def _t_maze_of(length: int) -> EnvironmentSpec:
    return EnvironmentSpec(
        name=f"t-maze-{length}",
        make=partial(TMaze, length=length),
        contract=_t_maze(),
        episodes=1000,
        goal=0.99,
    )


ENVIRONMENTS: Final[dict[str, EnvironmentSpec]] = {
    spec.name: spec
    for spec in (
        _CART_POLE,
        _PENDULUM,
        _MOUNTAIN_CAR,
        EnvironmentSpec(
            name="repeat-previous-easy",
            make=RepeatPrevious,
            contract=_card_game(),
            episodes=1000,
            goal=0.99,
        ),
        EnvironmentSpec(
            name="repeat-first-easy",
            make=RepeatFirst,
            contract=_card_game(),
            episodes=1000,
            goal=0.99,
        ),
        *(_t_maze_of(length) for length in (50, 250, 1000)),
    )
}


def environment(name: str) -> EnvironmentSpec:
    """Gives an environment.

    Raises:
      ConfigError: no such environment.
    """
    if name not in ENVIRONMENTS:
        raise ConfigError(f"env: expected one of {', '.join(ENVIRONMENTS)}, got {name}")
    return ENVIRONMENTS[name]

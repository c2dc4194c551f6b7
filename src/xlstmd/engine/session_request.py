"""What the session engine must know of a request, whatever surface it is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_reply import Reply
from xlstmd.engine.session_table import Session
from xlstmd.engine.step_job import StepDone
from xlstmd.engine.step_work import StepWork
from xlstmd.errors import ModelFailed

R = TypeVar("R", bound=Reply)
R_co = TypeVar("R_co", bound=Reply, covariant=True)


class SessionRequest(Protocol[R_co]):
    """A request that may advance a session."""

    @property
    def key(self) -> SessionKey:
        """Of the session."""

    @property
    def seq(self) -> int | None:
        """The first number that it takes; None for one that only asks."""

    @property
    def count(self) -> int:
        """How many numbers it takes."""

    @property
    def model(self) -> str | None:
        """Name or identity; None is the default one, or that of the session."""

    @property
    def reset(self) -> bool:
        """With `seq` 1: begins a session in place of another one. Else: with an empty state."""

    @property
    def durable(self) -> bool:
        """At creation: each step is on disk before it is answered."""

    @property
    def facts(self) -> Mapping[str, str]:
        """At creation: what the caller wants to get back with each answer."""

    @property
    def request_hash(self) -> bytes:
        """Of the whole request, to know it again."""

    @property
    def deadline(self) -> float | None:
        """Monotonic time; nothing may be advanced after it. None for no end."""

    @property
    def work(self) -> StepWork:
        """What the model is to compute."""

    def work_again(self, reply: Reply) -> StepWork | None:
        """Gives what is to be computed from the state after it, where the request has come again.

        Args:
          reply: that was given the first time.
        """

    def reply(self, before: Reply | None, done: StepDone) -> R_co:
        """Gives what is to be kept for a retry.

        Args:
          before: what is kept of the request before; None for the first one of a session.
          done: computed.
        """

    def own(self, reply: Reply) -> R_co:
        """Gives a kept reply to such a request as what it is."""

    def do_without(self, error: ModelFailed) -> bool:
        """Says whether it can do without the part of its work on which the model failed.

        Once it said so, that is no part of `work` any more.
        """


@dataclass(frozen=True, slots=True)
class StepTaken(Generic[R]):
    """A request that went well.

    Args:
      session: as it is now.
      reply: to it.
      done: what was computed for it; None for nothing.
    """

    session: Session
    reply: R
    done: StepDone | None

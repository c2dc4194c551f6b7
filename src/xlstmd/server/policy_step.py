"""The policy route: `POST /api/v1/xlstm/policy/step`."""

from typing import Final

from xlstmd.engine.policy_tasks import PolicyTask
from xlstmd.server.body import BodyRoom
from xlstmd.server.policy_stepper import PolicyStepper
from xlstmd.server.settings import Settings
from xlstmd.server.step_route import StepRoute

STEP_PATH: Final = "/api/v1/xlstm/policy/step"


class PolicyStepRoute(StepRoute[PolicyTask]):
    """Takes observations of episodes."""

    def __init__(self, stepper: PolicyStepper, settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        super().__init__(STEP_PATH, stepper, settings, room)

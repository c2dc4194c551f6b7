"""The route for fleets: `POST /api/v1/xlstm/policy/steps`."""

from collections.abc import Sequence
from typing import Final

from xlstmd.server.body import BodyRoom
from xlstmd.server.fleet_stepper import FleetStep, FleetStepper
from xlstmd.server.settings import Settings
from xlstmd.server.step_route import StepRoute

STEPS_PATH: Final = "/api/v1/xlstm/policy/steps"


class PolicyStepsRoute(StepRoute[Sequence[FleetStep]]):
    """Takes observations of many sessions."""

    def __init__(self, stepper: FleetStepper, settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        super().__init__(STEPS_PATH, stepper, settings, room)

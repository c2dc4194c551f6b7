"""The append route: `POST /api/v1/xlstm/forecast/append`."""

from typing import Final

from xlstmd.engine.session_tasks import AppendTask
from xlstmd.server.appender import Appender
from xlstmd.server.body import BodyRoom
from xlstmd.server.settings import Settings
from xlstmd.server.step_route import StepRoute

APPEND_PATH: Final = "/api/v1/xlstm/forecast/append"


class AppendRoute(StepRoute[AppendTask]):
    """Takes points for streams."""

    def __init__(self, appender: Appender, settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        super().__init__(APPEND_PATH, appender, settings, room)

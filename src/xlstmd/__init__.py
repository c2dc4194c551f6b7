"""xLSTM in production: forecasts, exact streams, policies, and the daemon that serves them.

Public names are imported when they are first used, so that `import xlstmd` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xlstmd.models.forecaster import Forecaster, ForecastStream, load_forecaster
    from xlstmd.models.policy import Policy, PolicyEpisodes, load_policy
    from xlstmd.models.quantile_forecast import QuantileForecast

__version__ = "0.1.0"

__all__ = [
    "ForecastStream",
    "Forecaster",
    "Policy",
    "PolicyEpisodes",
    "QuantileForecast",
    "__version__",
    "load_forecaster",
    "load_policy",
]

_HOMES = {
    "ForecastStream": "xlstmd.models.forecaster",
    "Forecaster": "xlstmd.models.forecaster",
    "Policy": "xlstmd.models.policy",
    "PolicyEpisodes": "xlstmd.models.policy",
    "QuantileForecast": "xlstmd.models.quantile_forecast",
    "load_forecaster": "xlstmd.models.forecaster",
    "load_policy": "xlstmd.models.policy",
}


def __getattr__(name: str) -> Any:
    """Imports a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module 'xlstmd' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Lists the public names."""
    return sorted(__all__)

"""Where a model comes from, as something that can be told to another process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast

from xlstmd.engine.tasks import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A function that loads a model, by name, and what to call it with.

    Args:
      loader: `module:function`; imported where the model runs, so that nothing else needs it.
      arguments: keywords of the function, as JSON can hold them.
    """

    loader: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Model:
        """Loads the model; raises whatever the function raises."""
        module, _, name = self.loader.partition(":")
        load = cast(Callable[..., Model], getattr(import_module(module), name))
        return load(**self.arguments)

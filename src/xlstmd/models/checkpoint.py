"""Reading and writing forecasters: weights and configuration in a folder. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models import model_folder
from xlstmd.models.config import ForecasterConfig
from xlstmd.models.model_folder import CONFIG_FILE, WEIGHTS, WEIGHTS_FILE, Arrays

KIND: Final = "forecaster"
FOREIGN_SUFFIX: Final = ".ckpt"
DEFAULT_FORECASTER: Final = "small"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecasterCheckpoint:
    """A forecaster as it lies on disk.

    Attributes:
      name: without version.
      version: rises when the weights change.
      config: architecture.
      weights: by the network's parameter names, float32 after reading.
      training: how it came about: steps, seed, samples and so on.
      licence: of the weights.
      sha256: of the weights file; empty before writing.
    """

    name: str
    version: str
    config: ForecasterConfig
    weights: Arrays
    training: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    sha256: str = ""


def shipped() -> dict[str, Path]:
    """Gives the folders of the forecasters that come with the package, by name."""
    return model_folder.folders(WEIGHTS, KIND)


def find(name_or_path: str | Path | None) -> Path:
    """Gives where a model lies.

    Args:
      name_or_path: name of a shipped one; or a path, to a folder of ours or to the file of
        somebody else's; None is the default one.

    Returns:
      A folder for `load`, or a file that ends with `.ckpt`, see `tirex.load_tirex`.

    Raises:
      CheckpointError: none of them.
    """
    known = shipped()
    name = DEFAULT_FORECASTER if name_or_path is None else str(name_or_path)
    if name in known:
        return known[name]
    place = Path(name)
    if (place / CONFIG_FILE).is_file() or (place.suffix == FOREIGN_SUFFIX and place.is_file()):
        return place
    raise CheckpointError(
        f"model: expected one of {', '.join(known) or 'none shipped'}, a folder with "
        f"{CONFIG_FILE} and {WEIGHTS_FILE}, or a file {FOREIGN_SUFFIX}, got {name}"
    )


def save(checkpoint: ForecasterCheckpoint, folder: Path) -> ForecasterCheckpoint:
    """Writes a model, its weights as float16 where that loses little.

    Returns:
      The checkpoint with the hash of what was written.
    """
    facts = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "licence": checkpoint.licence,
        "training": dict(checkpoint.training),
        "architecture": checkpoint.config.to_dict(),
    }
    digest = model_folder.write_model(folder, KIND, facts, checkpoint.weights)
    return replace(checkpoint, sha256=digest)


def load(folder: Path) -> ForecasterCheckpoint:
    """Reads a model of ours and checks its hash.

    Raises:
      CheckpointError: a file is absent, damaged, of another format or not the one described.
    """
    facts, weights = model_folder.read_model(folder, KIND)
    try:
        return ForecasterCheckpoint(
            name=str(facts["name"]),
            version=str(facts["version"]),
            config=ForecasterConfig.from_dict(facts["architecture"]),
            weights=weights,
            training=dict(facts.get("training", {})),
            licence=str(facts.get("licence", "")),
            sha256=str(facts["sha256"]),
        )
    except (KeyError, ConfigError) as error:
        raise CheckpointError(f"{folder.name}: expected a complete model, got {error!r}") from None

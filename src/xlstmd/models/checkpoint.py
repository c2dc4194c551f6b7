"""Reading and writing models: a folder with `config.json` and `model.safetensors`. No torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models.config import ForecasterConfig

FORMAT: Final = 1
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
WEIGHTS: Final = Path(__file__).parent / "weights"
FOREIGN_SUFFIX: Final = ".ckpt"
DEFAULT_FORECASTER: Final = "small"

# Rounding to float16 may change a weight by so much of the largest one of its tensor.
_HALF_TOLERANCE: Final = 1e-3

Arrays = Mapping[str, NDArray[np.floating[Any]]]


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
    """Gives the folders of the models that come with the package, by name."""
    return {path.parent.name: path.parent for path in sorted(WEIGHTS.glob(f"*/{CONFIG_FILE}"))}


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
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _stored(array) for name, array in checkpoint.weights.items()}
    path = folder / WEIGHTS_FILE
    save_file(stored, path)
    # The library writes for the owner alone; a model is for everybody who may read the folder.
    path.chmod(0o644)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    facts = {
        "format": FORMAT,
        "kind": "forecaster",
        "name": checkpoint.name,
        "version": checkpoint.version,
        "licence": checkpoint.licence,
        "sha256": digest,
        "training": dict(checkpoint.training),
        "architecture": checkpoint.config.to_dict(),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return ForecasterCheckpoint(
        name=checkpoint.name,
        version=checkpoint.version,
        config=checkpoint.config,
        weights=checkpoint.weights,
        training=checkpoint.training,
        licence=checkpoint.licence,
        sha256=digest,
    )


def load(folder: Path) -> ForecasterCheckpoint:
    """Reads a model of ours and checks its hash.

    Raises:
      CheckpointError: a file is absent, damaged, of another format or not the one described.
    """
    try:
        facts = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}: expected a readable model, got {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"{folder.name}: expected format {FORMAT} in {CONFIG_FILE}")
    if facts.get("kind") != "forecaster":
        raise CheckpointError(f"{folder.name}: expected a forecaster, got {facts.get('kind')}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != facts.get("sha256"):
        raise CheckpointError(
            f"{folder.name}: {WEIGHTS_FILE} is damaged or exchanged: expected sha256 "
            f"{facts.get('sha256')}, got {digest}"
        )
    try:
        weights = load_file(folder / WEIGHTS_FILE)
        config = ForecasterConfig.from_dict(facts["architecture"])
        return ForecasterCheckpoint(
            name=str(facts["name"]),
            version=str(facts["version"]),
            config=config,
            weights={name: array.astype(np.float32) for name, array in weights.items()},
            training=dict(facts.get("training", {})),
            licence=str(facts.get("licence", "")),
            sha256=digest,
        )
    except (KeyError, SafetensorError, ConfigError) as error:
        raise CheckpointError(f"{folder.name}: expected a complete model, got {error!r}") from None


def _stored(array: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    lost = np.abs(half.astype(np.float64) - array).max(initial=0.0)
    if np.isfinite(half).all() and lost <= _HALF_TOLERANCE * np.abs(array).max(initial=0.0):
        return np.ascontiguousarray(half)
    return np.ascontiguousarray(array.astype(np.float32))

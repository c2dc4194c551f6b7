"""A model on disk: `config.json` with its facts, `model.safetensors` with its weights. No torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from xlstmd.errors import CheckpointError

FORMAT: Final = 1
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
WEIGHTS: Final = Path(__file__).parent / "weights"

# Rounding to float16 may change a weight by so much of the largest one of its tensor.
_HALF_TOLERANCE: Final = 1e-3

Arrays = Mapping[str, NDArray[np.floating[Any]]]


def folders(place: Path, kind: str) -> dict[str, Path]:
    """Gives the models of a kind that lie in a folder, each in one of its own, by name."""
    found = [path.parent for path in sorted(place.glob(f"*/{CONFIG_FILE}"))]
    return {path.name: path for path in found if kind_of(path) == kind}


def kind_of(folder: Path) -> str:
    """Says what kind of model lies in a folder; empty where none can be read."""
    try:
        facts = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(facts.get("kind", "")) if isinstance(facts, dict) else ""


def write_model(folder: Path, kind: str, facts: Mapping[str, Any], weights: Arrays) -> str:
    """Writes a model, its weights as float16 where that loses little.

    Args:
      folder: made when absent.
      kind: of model.
      facts: that are written beside format, kind and hash.
      weights: by name.

    Returns:
      The sha256 of the weights file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE
    save_file({name: _stored(array) for name, array in weights.items()}, path)
    # The library writes for the owner alone; a model is for everybody who may read the folder.
    path.chmod(0o644)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    named = {name: facts[name] for name in ("name", "version", "licence")}
    head = {"format": FORMAT, "kind": kind, **named, "sha256": digest}
    text = json.dumps(head | dict(facts), indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    return digest


def read_model(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Reads a model of ours and checks its hash.

    Returns:
      Its facts, and its weights by name.

    Raises:
      CheckpointError: a file is absent, damaged, of another format or kind, or not the one
        described.
    """
    try:
        facts = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        data = (folder / WEIGHTS_FILE).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.name}: expected a readable model, got {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise CheckpointError(f"{folder.name}: expected format {FORMAT} in {CONFIG_FILE}")
    if facts.get("kind") != kind:
        raise CheckpointError(f"{folder.name}: expected a {kind}, got {facts.get('kind')}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != facts.get("sha256"):
        raise CheckpointError(
            f"{folder.name}: {WEIGHTS_FILE} is damaged or exchanged: expected sha256 "
            f"{facts.get('sha256')}, got {digest}"
        )
    try:
        weights = load_file(folder / WEIGHTS_FILE)
    except SafetensorError as error:
        raise CheckpointError(f"{folder.name}: expected a complete model, got {error!r}") from None
    return facts, {name: array.astype(np.float32) for name, array in weights.items()}


def _stored(array: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    lost = np.abs(half.astype(np.float64) - array).max(initial=0.0)
    if np.isfinite(half).all() and lost <= _HALF_TOLERANCE * np.abs(array).max(initial=0.0):
        return np.ascontiguousarray(half)
    return np.ascontiguousarray(array.astype(np.float32))

"""Reading and writing policies: weights, configuration, statistics and contract. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models import model_folder
from xlstmd.models.model_folder import CONFIG_FILE, WEIGHTS, WEIGHTS_FILE, Arrays
from xlstmd.models.observation_statistics import ObservationStatistics
from xlstmd.models.policy_config import DiscreteHead, PolicyConfig
from xlstmd.models.policy_contract import PolicyContract

KIND: Final = "policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCheckpoint:
    """A policy as it lies on disk.

    Attributes:
      name: without version.
      version: rises when the weights change.
      config: architecture.
      contract: what it promises and expects.
      statistics: of the observations of training.
      weights: by the network's parameter names, float32 after reading.
      training: how it came about: environment, steps, seed and so on.
      licence: of the weights.
      sha256: of the weights file; empty before writing.
    """

    name: str
    version: str
    config: PolicyConfig
    contract: PolicyContract
    statistics: ObservationStatistics
    weights: Arrays
    training: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    sha256: str = ""

    def __post_init__(self) -> None:
        """Checks that configuration, statistics and contract speak of the same numbers.

        Raises:
          ConfigError: they do not.
        """
        choices = tuple(len(entry.choices) for entry in self.contract.observations)
        if choices != self.config.observation_choices:
            expected = list(self.config.observation_choices)
            raise ConfigError(
                f"contract.observations: expected choices {expected}, got {list(choices)}"
            )
        if len(self.statistics.mean) != len(choices):
            raise ConfigError(
                f"statistics: expected {len(choices)} numbers, got {len(self.statistics.mean)}"
            )
        head, actions = self.config.head, self.contract.actions
        if isinstance(head, DiscreteHead):
            expected, got = [head.num_choices], [len(entry.choices) for entry in actions]
        else:
            expected, got = [0] * head.size, [len(entry.choices) for entry in actions]
        if expected != got:
            raise ConfigError(f"contract.actions: expected choices {expected}, got {got}")


def shipped_policies() -> dict[str, Path]:
    """Gives the folders of the policies that come with the package, by name."""
    return model_folder.folders(WEIGHTS, KIND)


def find_policy(name_or_path: str | Path) -> Path:
    """Gives the folder of a policy.

    Args:
      name_or_path: name of a shipped one, or the path of a folder of ours.

    Raises:
      CheckpointError: none of them.
    """
    known = shipped_policies()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    place = Path(name_or_path)
    if (place / CONFIG_FILE).is_file():
        return place
    raise CheckpointError(
        f"policy: expected one of {', '.join(known) or 'none shipped'}, or a folder with "
        f"{CONFIG_FILE} and {WEIGHTS_FILE}, got {name_or_path}"
    )


def save_policy(checkpoint: PolicyCheckpoint, folder: Path) -> PolicyCheckpoint:
    """Writes a policy, its weights as float16 where that loses little.

    Returns:
      The checkpoint with the hash of what was written.
    """
    facts = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "licence": checkpoint.licence,
        "training": dict(checkpoint.training),
        "contract": checkpoint.contract.to_dict(),
        "statistics": checkpoint.statistics.to_dict(),
        "architecture": checkpoint.config.to_dict(),
    }
    digest = model_folder.write_model(folder, KIND, facts, checkpoint.weights)
    return replace(checkpoint, sha256=digest)


def read_policy(folder: Path) -> PolicyCheckpoint:
    """Reads a policy and checks its hash.

    Raises:
      CheckpointError: a file is absent, damaged, of another format or not the one described.
    """
    facts, weights = model_folder.read_model(folder, KIND)
    try:
        return PolicyCheckpoint(
            name=str(facts["name"]),
            version=str(facts["version"]),
            config=PolicyConfig.from_dict(facts["architecture"]),
            contract=PolicyContract.from_dict(facts["contract"]),
            statistics=ObservationStatistics.from_dict(facts["statistics"]),
            weights=weights,
            training=dict(facts.get("training", {})),
            licence=str(facts.get("licence", "")),
            sha256=str(facts["sha256"]),
        )
    except (KeyError, ConfigError) as error:
        raise CheckpointError(f"{folder.name}: expected a complete policy, got {error!r}") from None

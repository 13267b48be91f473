"""Files of mixtures: weights by task, chosen by `train.plan_mixture` or `--policy planned`, and their origin."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import UsageError
from shared.rebalance.policies.fixed import write_mixture
from shared.records import from_plain, read_json
from shared.storage.atomic import write_bytes
from shared.user_folders import expand_home
from train.settings import TrainSettings

if TYPE_CHECKING:
    from shared.rebalance.mixtures import Choice, MixturePlan

MIXTURE = "mixture.json"
"""The mixture of `--policy planned`, in the run folder."""
FORMAT = "realsr-mixture-v1"
MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Mixture:
    """The file of a mixture. weights: by task. origin: where the weights come from, plain data."""

    format: str
    weights: dict[str, float]
    origin: dict[str, Any]


def save_choice(path: Path, plan: "MixturePlan", choice: "Choice", source: str) -> None:
    """Write the file of an aim's mixture. source: the references that it was predicted from."""
    found = choice.predicted
    gains = {"predicted_gains_db": found.gains_db, "low_db": found.low, "high_db": found.high}
    by_task = {name: dict(zip(plan.tasks, values, strict=True)) for name, values in gains.items()}
    origin = {"aim": choice.aim, "references": source, "step": plan.step, **by_task}
    mixture = Mixture(FORMAT, dict(zip(plan.tasks, choice.weights, strict=True)), origin)
    write_bytes(path, json.dumps(asdict(mixture), indent=1, ensure_ascii=False).encode() + b"\n")


def load_mixture(path: Path) -> Mixture:
    """The mixture in a file. Raises `UsageError` when there is none, or another file."""
    if not path.is_file():
        raise UsageError(f"no mixture {path}: give task=weight,task=weight, or a file that plan-mixture wrote")
    try:
        found = from_plain(Mixture, read_json(path, MAX_BYTES))
        if found.format != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if min(found.weights.values(), default=0) < 0:
            raise ValueError("a weight is negative")
    except ValueError as error:
        raise UsageError(f"{path} is not a mixture: {error}") from error
    return found


def with_weights_of_file(settings: TrainSettings) -> TrainSettings:
    """The settings with the weights themselves where `--policy fixed` names a file, so that a run holds its mixture."""
    weights = settings.policy_options.get("weights")
    if settings.policy != "fixed" or not isinstance(weights, str) or not weights or "=" in weights:
        return settings
    text = write_mixture(load_mixture(expand_home(weights)).weights)
    return replace(settings, policy_options={**settings.policy_options, "weights": text})

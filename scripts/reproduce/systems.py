"""Systems side by side: which there are, what each makes of the test sets, and what is missing.

A YAML file maps a system's name to its checkpoint, its pictures, or an arm that is trained here (`systems.yaml` names
the paper's). A system that is not there, or cannot be read, is listed with the reason; the others are measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm, train_arm
from scripts.reproduce.lab import Lab, LabSettings
from shared.config import option
from shared.errors import RunError, UsageError
from train.evaluation.evaluate_sets import MissingPicturesError
from train.evaluation.results import read_results
from train.evaluation.summaries import ImageResult
from train.evaluation.systems import BICUBIC

DEFAULT = Path(__file__).with_name("systems.yaml")
ARMS = {arm.name: arm for arm in (UNIFORM, REWEIGHT, REBALANCE)}
KINDS = ("checkpoint", "results", "arm")
NO_ARMS = ("seeds", "jobs")
"""LabSettings that mean nothing where a system is one network."""


@dataclass(frozen=True)
class SystemSettings(LabSettings):
    """What experiments with given systems can be asked for."""

    systems: str | None = option(
        None, "YAML file with a line for each system (default: scripts/reproduce/systems.yaml, which explains itself)"
    )

    @property
    def file(self) -> Path:
        """The file of systems."""
        return Path(self.systems) if self.systems else DEFAULT


@dataclass(frozen=True)
class Entry:
    """A system and where it is. kind: checkpoint, results or arm."""

    name: str
    kind: str
    place: str


@dataclass(frozen=True)
class Evaluated:
    """A system's images as measured. folder: its evaluation. missing: why there are none, or not all; "" if all."""

    name: str
    folder: Path
    results: list[ImageResult]
    missing: str


def read_systems(path: Path) -> list[Entry]:
    """The systems of a file, in its order. Raises `UsageError` that names what cannot be meant."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"systems is {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} must map names of systems to one of {', '.join(KINDS)}")
    return [_entry(path, str(name), value) for name, value in content.items()]


def _entry(path: Path, name: str, value: object) -> Entry:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= set(KINDS):
        raise UsageError(f"{path}, system {name!r}: {value!r} must be one of {', '.join(f'{k}: ...' for k in KINDS)}")
    if "/" in name or not name:
        raise UsageError(f"{path}: the name {name!r} must not be empty or hold a slash")
    kind, place = next(iter(value.items()))
    if kind == "arm" and place not in ARMS:
        raise UsageError(f"{path}, system {name!r}: unknown arm {place!r}, choose one of {', '.join(ARMS)}")
    return Entry(name, kind, str(place))


def evaluate_systems(lab: Lab, entries: Sequence[Entry], testsets: Mapping[str, str]) -> list[Evaluated]:
    """Measure every system on the test sets, arms last, so that what is at hand is measured first."""
    order = sorted(entries, key=lambda entry: entry.kind == "arm")
    found = {entry.name: _evaluate(lab, entry, testsets) for entry in order}
    return [found[entry.name] for entry in entries]


def arms_of(entries: Sequence[Entry]) -> list[Arm]:
    """The arms that have to be trained."""
    return [ARMS[entry.place] for entry in entries if entry.kind == "arm"]


def _evaluate(lab: Lab, entry: Entry, testsets: Mapping[str, str]) -> Evaluated:
    folder, place = lab.shared / "systems" / entry.name, entry.place
    if entry.kind == "arm":
        place = str(train_arm(lab, ARMS[entry.place], 0))
    elif place != BICUBIC and not Path(place).exists():
        return Evaluated(entry.name, folder, [], f"no {place}")
    print(f"\n{entry.name}: {place}")
    flag = "--results" if entry.kind == "results" else "--checkpoint"
    try:
        lab.evaluate(folder, [flag, place], testsets)
        missing = ""
    except MissingPicturesError as error:
        missing = str(error)
    except (RunError, UsageError) as error:
        return Evaluated(entry.name, folder, [], str(error))
    names = lab.names(testsets)
    return Evaluated(entry.name, folder, [r for r in read_results(folder) if r.testset in names], missing)

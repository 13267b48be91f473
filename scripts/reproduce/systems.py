"""What the tables and crop sheets put side by side: released systems and networks that are trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.reproduce.comparison import Arm, train_arm
from scripts.reproduce.lab import Lab
from shared.errors import RunError, UsageError
from train.evaluation.evaluate_sets import MissingResultsError
from train.evaluation.results import read_results
from train.evaluation.settings import BICUBIC
from train.evaluation.summaries import ImageResult

KINDS = ("checkpoint", "results")


@dataclass(frozen=True)
class Released:
    """A system and where it is. kind: checkpoint or results."""

    name: str
    kind: str
    place: str


@dataclass(frozen=True)
class Evaluated:
    """A system's images as measured.

    folders: its evaluations, one for a released system and one for each seed of an arm; runs: the results in them.
    missing: why there are none, or not all; empty when nothing is missing.
    """

    name: str
    folders: tuple[Path, ...]
    runs: tuple[list[ImageResult], ...]
    missing: str = ""

    def values(self, testset: str, measure: str) -> dict[str, list[float]]:
        """A measure on each image of a test set, a value for each run; empty when it was not measured."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            for result in run:
                if result.testset == testset and measure in result.values:
                    found.setdefault(result.image, []).append(result.values[measure])
        return found

    def photographs(self, testset: str) -> dict[str, str]:
        """The photograph of each image of a test set."""
        return {result.image: result.photograph for run in self.runs[:1] for result in run if result.testset == testset}


def read_systems(path: Path) -> dict[str, Released]:
    """The systems of a file by name, in its order. Raises `UsageError` that names what cannot be meant."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"systems is {str(path)!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UsageError(f"{path} must map names of systems to one of {', '.join(KINDS)}")
    return {str(name): _released(path, str(name), value) for name, value in content.items()}


def _released(path: Path, name: str, value: object) -> Released:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= set(KINDS):
        raise UsageError(f"{path}, system {name!r}: {value!r} must be one of {', '.join(f'{k}: ...' for k in KINDS)}")
    if "/" in name or not name:
        raise UsageError(f"{path}: the name {name!r} must not be empty or hold a slash")
    kind, place = next(iter(value.items()))
    return Released(name, kind, str(place))


def evaluate_released(lab: Lab, system: Released, testsets: Mapping[str, str]) -> Evaluated:
    """Measure a released system; one that is not there, or cannot be read, has the reason in `missing`."""
    folder, place = lab.shared / "systems" / system.name, system.place
    if place != BICUBIC and not Path(place).exists():
        return Evaluated(system.name, (), (), f"there is no {place}: put it there, or name its place in --systems")
    print(f"\n{system.name}: {place}")
    missing = ""
    try:
        lab.evaluate(folder, ["--results" if system.kind == "results" else "--checkpoint", place], testsets)
    except MissingResultsError as error:
        missing = str(error)
    except (RunError, UsageError) as error:
        return Evaluated(system.name, (), (), str(error))
    return Evaluated(system.name, (folder,), (_results(lab, folder, testsets),), missing)


def evaluate_arm(lab: Lab, name: str, arm: Arm, testsets: Mapping[str, str], seeds: Sequence[int]) -> Evaluated:
    """Measure the networks of an arm that has been trained, one for each seed."""
    folders = []
    for seed in seeds:
        run = train_arm(lab, arm, seed)
        lab.evaluate(run / "test", ["--checkpoint", str(run)], testsets)
        folders.append(run / "test")
    return Evaluated(name, (*folders,), tuple(_results(lab, folder, testsets) for folder in folders))


def _results(lab: Lab, folder: Path, testsets: Mapping[str, str]) -> list[ImageResult]:
    names = lab.names(testsets)
    return [result for result in read_results(folder) if result.testset in names]

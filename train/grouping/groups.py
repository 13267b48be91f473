"""Task grouping in the style of TGSR: frozen plans, what a network gains from each, and groups of them by gain.

Zhang et al., "Real-world image super-resolution as multi-task learning", NeurIPS 2023; no training code is public, and
docs/method.md says how it is read here. A task is one frozen plan: a vector of degradation parameters. The result is a
portable JSON file (docs/format.md), which is checked before it is used.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.mixing.plans import Frozen
from shared.mixing.tasks import Task
from shared.packs import pack, unpack
from shared.records import canonical_json, from_plain, read_json
from shared.storage.atomic import write_bytes
from train.settings import GroupingSettings

FORMAT = "realsr-groups-v1"
WHOLE_SPACE = 0
"""Number of the group that holds the tasks of the run itself, and no frozen plans."""


# ---- from gains to groups


def most_improved(gains_db: Sequence[float], count: int) -> list[int]:
    """Positions of the `count` largest gains, in ascending order; of equal gains the earlier ones."""
    return sorted(sorted(range(len(gains_db)), key=lambda place: -gains_db[place])[:count])


def group_by_gain(gains_db: Sequence[float], thresholds_db: Sequence[float]) -> list[int]:
    """Group of each gain: the number, from 1, of the first threshold that it exceeds; 0 when it exceeds none."""
    exceeded = ([k for k, threshold in enumerate(thresholds_db, 1) if gain > threshold] for gain in gains_db)
    return [groups[0] if groups else WHOLE_SPACE for groups in exceeded]


# ---- frozen plans as tasks


def draw_tasks(boxes: Sequence[Task], seed: int, count: int) -> list[Task]:
    """`count` tasks of one frozen plan each, named t<k>: the plan of the k-th sample of a box, the boxes in turn."""
    return [_freeze(boxes, f"t{k}", seed, k, boxes[0].patch) for k in range(count)]


def _freeze(boxes: Sequence[Task], name: str, seed: int, number: int, patch: int) -> Task:
    """A task of one frozen plan, without shards, with the validation set of its box. patch: HR side of the plan."""
    box = boxes[number % len(boxes)]
    assert box.plans
    plan = box.plans.draw(seed, number, patch, box.scale)
    return replace(box, name=name, plans=Frozen(name, plan, patch), train=None, train_manifest=None)


def frozen(task: Task) -> Frozen:
    """The frozen plan that a task consists of."""
    assert isinstance(task.plans, Frozen)
    return task.plans


def degradations(boxes: Sequence[Task]) -> list[list[str]]:
    """The tasks that plans are drawn from, in their order: name, and a hash of what can be drawn."""
    fields = {box.name: [asdict(box.plans), box.scale, box.usm] for box in boxes}  # type: ignore[arg-type]
    return [[name, hashlib.sha256(canonical_json(values)).hexdigest()] for name, values in fields.items()]


# ---- the file


@dataclass(frozen=True)
class Grouping:
    """The groups that a search has found.

    protocol: the settings of the search, with the `seed` and the `patch` that the plans were drawn with. plans: JSON of
    every plan tried. gains_db: gain of fine-tuning on each plan alone. chosen: positions of the largest gains.
    joint_gains_db, groups: gain in the joint fine-tuning and group of each chosen plan; group 0 for a plan that exceeds
    no threshold.
    """

    protocol: dict[str, Any]
    plans: list[str]
    gains_db: list[float]
    chosen: list[int]
    joint_gains_db: list[float]
    groups: list[int]

    def numbers(self) -> list[int]:
        """Group of each of `tasks`."""
        return [group for group in self.groups if group != WHOLE_SPACE]

    def tasks(self, boxes: Sequence[Task]) -> list[Task]:
        """The grouped plans as tasks named g<group>t<k>, drawn from the boxes of a run."""
        seed, patch = self.protocol["seed"], self.protocol["patch"]
        chosen = zip(self.chosen, self.groups, strict=True)
        return [_freeze(boxes, f"g{g}t{k}", seed, k, patch) for k, g in chosen if g != WHOLE_SPACE]

    def describe(self) -> str:
        """One line: the number of plans in each group, and the ranges of the gains."""
        sizes = ", ".join(f"{number}: {count}" for number, count in sorted(Counter(self.numbers()).items()))
        gains = [f"{min(gains):+.3f} to {max(gains):+.3f} dB" for gains in (self.gains_db, self.joint_gains_db)]
        return f"plans by group {sizes or 'none'}; gains alone {gains[0]}, of the chosen jointly {gains[1]}"

    def save(self, path: Path) -> None:
        """Write the file."""
        write_bytes(path, pack(FORMAT, "grouping", asdict(self)))


def load_grouping(path: Path, boxes: Sequence[Task]) -> Grouping:
    """Read and check a file. Raises `RunError` when it is damaged, or when one part does not follow from another."""
    try:
        grouping = from_plain(Grouping, unpack(read_json(path), [FORMAT], "grouping", dict))
        _check(grouping, boxes)
    except ValueError as error:
        raise RunError(f"{path} does not hold the groups of a network: {error}") from error
    return grouping


@dataclass(frozen=True)
class _Search:
    """The entries of a protocol that plans and groups follow from."""

    seed: int
    patch: int
    grouping: GroupingSettings


def _check(grouping: Grouping, boxes: Sequence[Task]) -> None:
    """Raises ValueError unless sizes agree and chosen plans and groups follow from the gains."""
    entries = {name: grouping.protocol.get(name) for name in ("seed", "patch", "grouping")}
    options, count = from_plain(_Search, entries, "protocol").grouping, len(grouping.plans)
    if not count == len(grouping.gains_db) == options.plans:
        raise ValueError(f"it holds {count} plans and {len(grouping.gains_db)} gains of the {options.plans} tried")
    if grouping.chosen != most_improved(grouping.gains_db, options.num_chosen):
        raise ValueError("chosen are not the plans that gain most")
    if len(grouping.joint_gains_db) != len(grouping.chosen):
        raise ValueError(f"{len(grouping.chosen)} plans are chosen, {len(grouping.joint_gains_db)} have a joint gain")
    if grouping.groups != group_by_gain(grouping.joint_gains_db, options.thresholds_db):
        raise ValueError("the groups do not follow from the joint gains and the thresholds")
    if grouping.protocol.get("degradations") == degradations(boxes):  # else the run refuses it, and says so better
        _check_plans(grouping, boxes)


def _check_plans(grouping: Grouping, boxes: Sequence[Task]) -> None:
    """Raises ValueError unless every plan is the one that its seed draws, to the last digit."""
    seed, patch = grouping.protocol["seed"], grouping.protocol["patch"]
    if patch < boxes[0].scale:
        raise ValueError(f"patch is {patch}: it must be at least the scale, {boxes[0].scale}")
    for place, text in enumerate(grouping.plans):
        if text != frozen(_freeze(boxes, "", seed, place, patch)).plan.to_json():
            name = boxes[place % len(boxes)].name
            raise ValueError(f"plan {place} is not the one that seed {seed} draws from task {name}")

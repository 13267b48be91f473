"""Task grouping in the style of TGSR: frozen plans, what a network gains from each, and groups of them by gain.

Zhang et al., "Real-world image super-resolution as multi-task learning", NeurIPS 2023; no training code is public, and
docs/method.md says how it is read here. A task is one frozen plan: a vector of degradation parameters. The result is a
portable JSON file (docs/format.md): nothing in such a file is trusted before it is checked.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared.errors import RunError
from shared.mixing.plans import Frozen
from shared.mixing.tasks import Task
from shared.packs import pack, unpack
from shared.records import canonical_json, read_json, require_fields
from shared.storage.atomic import write_bytes
from shared.text import short
from train.settings import GroupingSettings

FORMAT = "realsr-groups-v1"
WHOLE_SPACE = 0
"""Number of the group that is no selection of plans: the tasks of the run itself."""
REQUIRED = ("network", "init_sha256", "degradations", "grouping")
"""What a run must have in common with its groups. Seeds may differ: several runs can share one file."""


# ---- from gains to groups


def most_improved(gains_db: Sequence[float], count: int) -> list[int]:
    """Places of the `count` largest gains, in ascending order; of equal gains the earlier ones."""
    return sorted(sorted(range(len(gains_db)), key=lambda place: -gains_db[place])[:count])


def group_by_gain(gains_db: Sequence[float], thresholds_db: Sequence[float]) -> list[int]:
    """Group of each gain: the number, from 1, of the first threshold that it exceeds; 0 when it exceeds none."""
    exceeded = ([k for k, threshold in enumerate(thresholds_db, 1) if gain > threshold] for gain in gains_db)
    return [groups[0] if groups else WHOLE_SPACE for groups in exceeded]


def equal_groups(gains_db: Sequence[float], count: int) -> list[int]:
    """Group of each gain, 1 .. count, of equal sizes by rank, the largest gains in group 1 (paper Fig. 5 (a))."""
    ranked = sorted(range(len(gains_db)), key=lambda place: -gains_db[place])
    groups = [0] * len(gains_db)
    for rank, place in enumerate(ranked):
        groups[place] = rank * count // len(ranked) + 1
    return groups


# ---- frozen plans as tasks


def draw_tasks(boxes: Sequence[Task], seed: int, count: int) -> list[Task]:
    """`count` tasks of one frozen plan each, named t<k>: the plan of the k-th sample of a box, the boxes in turn."""
    return [_freeze(boxes, f"t{k}", seed, k, boxes[0].patch) for k in range(count)]


def _freeze(boxes: Sequence[Task], name: str, seed: int, number: int, patch: int) -> Task:
    """It has no shards, and keeps the validation pictures of its box. patch: what the plan was drawn for, pixels."""
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
    fields = {box.name: [asdict(box.plans), box.scale, box.usm] for box in boxes}  # type: ignore[call-overload]
    return [[name, hashlib.sha256(canonical_json(values)).hexdigest()] for name, values in fields.items()]


# ---- the file


@dataclass(frozen=True)
class Grouping:
    """What was found. protocol: how, with the `seed` and the `patch` that the plans were drawn with.

    plans: of every task tried, as JSON. gains_db: of fine-tuning on each alone. chosen: places of the most improved.
    joint_gains_db, groups: of the chosen, in that order; group 0 for those that no group took.
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
        """A line for people: how many plans each group has, and what was gained."""
        sizes = ", ".join(f"{number}: {count}" for number, count in sorted(Counter(self.numbers()).items()))
        gains = [f"{min(gains):+.3f} to {max(gains):+.3f} dB" for gains in (self.gains_db, self.joint_gains_db)]
        return f"plans by group {sizes or 'none'}; gains alone {gains[0]}, of the chosen jointly {gains[1]}"

    def save(self, path: Path) -> None:
        """Write the file."""
        write_bytes(path, pack(FORMAT, "grouping", asdict(self)))


def load_grouping(path: Path, boxes: Sequence[Task]) -> Grouping:
    """Read and check a file. Raises `RunError` when it is damaged, or its plans or groups are not what they must be."""
    try:
        content = unpack(read_json(path), [FORMAT], "grouping", dict)
        require_fields(Grouping, content, "field")
        grouping = Grouping(**content)
        _check(grouping, boxes)
    except ValueError as error:
        raise RunError(f"{path} does not hold the groups of a network: {error}") from error
    return grouping


def require_same_groups(grouping: Grouping, protocol: dict[str, Any], path: Path) -> None:
    """Raises `RunError` that names the first of `REQUIRED` that a run does not share with a file, with both values."""
    for key in REQUIRED:
        if grouping.protocol.get(key) != protocol[key]:
            raise RunError(
                f"{path} was made with {key} = {short(grouping.protocol.get(key))}, this run has "
                f"{short(protocol[key])}: use the same setting, or another --groups (it is made if it is not there)"
            )


def _check(grouping: Grouping, boxes: Sequence[Task]) -> None:
    """Types, sizes, and that everything follows from what it must follow from. Raises ValueError."""
    protocol, count = grouping.protocol, len(grouping.plans)
    for key in ("seed", "patch"):
        if type(protocol.get(key)) is not int:
            raise ValueError(f"protocol {key} is {short(protocol.get(key))}: it must be a whole number")
    settings = protocol.get("grouping")
    if not isinstance(settings, dict):
        raise ValueError("protocol has no grouping")
    require_fields(GroupingSettings, settings, "grouping")
    _require_numbers("thresholds_db", settings["thresholds_db"])
    options = GroupingSettings(**settings)
    _require_numbers("gains_db", grouping.gains_db)
    _require_numbers("joint_gains_db", grouping.joint_gains_db)
    if not count == len(grouping.gains_db) == options.plans:
        raise ValueError(f"it holds {count} plans and {len(grouping.gains_db)} gains of the {options.plans} tried")
    if grouping.chosen != most_improved(grouping.gains_db, options.num_chosen):
        raise ValueError("chosen are not the plans that gain most")
    if len(grouping.joint_gains_db) != len(grouping.chosen):
        raise ValueError(f"{len(grouping.chosen)} plans are chosen, {len(grouping.joint_gains_db)} have a joint gain")
    if grouping.groups != group_by_gain(grouping.joint_gains_db, options.thresholds_db):
        raise ValueError("the groups do not follow from the joint gains and the thresholds")
    if protocol.get("degradations") == degradations(boxes):  # else the run refuses it, and says so better
        _check_plans(grouping, boxes)


def _check_plans(grouping: Grouping, boxes: Sequence[Task]) -> None:
    """A plan is what its seed draws, to the last digit: so none of its numbers can do harm."""
    seed, patch = grouping.protocol["seed"], grouping.protocol["patch"]
    if patch < boxes[0].scale:
        raise ValueError(f"patch is {patch}: it must be at least the scale, {boxes[0].scale}")
    for place, text in enumerate(grouping.plans):
        box = boxes[place % len(boxes)]
        assert box.plans
        if text != box.plans.draw(seed, place, patch, box.scale).to_json():
            raise ValueError(f"plan {place} is not the one that seed {seed} draws from task {box.name}")


def _require_numbers(name: str, values: Any) -> None:
    if not isinstance(values, list) or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise ValueError(f"{name} is not a list of finite numbers")

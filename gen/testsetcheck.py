"""What is wrong in a whole-image test set: files, hashes, sizes, plans; on request, images rendered again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from gen.backends import degrade
from gen.shardcheck import ROUNDING_LEVELS, ROUNDING_SHARE, difference
from gen.testset import TestsetRecipe
from shared.degradation.partition import Subspace
from shared.degradation.plan import Plan
from shared.degradation.validation import violations
from shared.errors import UsageError
from shared.images import decode_png, png_size
from shared.shards.testset import TESTSET, TestSetRecord, hr_path, lr_path, plan_path
from shared.storage.places import read_bounded

MAX_PLAN_BYTES = 1 << 20
MAX_IMAGE_BYTES = 1 << 30


def testset_faults(folder: Path, record: TestSetRecord, rerender: int, quick: bool) -> Iterator[tuple[int, str]]:
    """(number of the image, what is wrong with it) for each fault; (-1, text) for those of the set itself.

    rerender: images, evenly spread, whose LR images are rendered again. quick: sizes and plans alone, no hashes.
    """
    try:
        boxes = {task.name: task for task in TestsetRecipe.from_dict(record.recipe).tasks()}
    except (ValueError, UsageError) as error:
        yield -1, f"{TESTSET}: {error}; plans cannot be judged"
        return
    if sorted(boxes) != sorted(record.tasks):
        yield -1, f"{TESTSET}: tasks are {', '.join(record.tasks)}, its recipe says {', '.join(boxes)}"
        return
    count = min(rerender, len(record.images))
    again = {(2 * i + 1) * len(record.images) // (2 * count) for i in range(count)}
    for number, image in enumerate(record.images):
        try:
            hr = _file(hr_path(folder, image.name), image.hr_sha256, (image.height, image.width), quick)
            for task in record.tasks:
                size = (image.height // record.scale, image.width // record.scale)
                lr = _file(lr_path(folder, task, image.name), image.lr_sha256.get(task, "missing"), size, quick)
                plan = _plan(plan_path(folder, task, image.name), boxes[task])
                if number in again:
                    _compare(hr, lr, plan, record.scale, lr_path(folder, task, image.name))
        except FileNotFoundError as error:
            yield number, f"{error.filename}: is missing"
        except (ValueError, OSError) as error:
            yield number, str(error)


def _file(path: Path, sha256: str, size: tuple[int, int], quick: bool) -> bytes:
    """The bytes of an image. Raises ValueError for another hash or size."""
    data = read_bounded(path, MAX_IMAGE_BYTES)
    if not quick and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path}: has another hash than {TESTSET} says")
    if png_size(data) != size:
        raise ValueError(f"{path}: is {png_size(data)} pixels, {TESTSET} says {size}")
    return data


def _plan(path: Path, box: Subspace) -> Plan:
    """The plan of an LR image. Raises ValueError for one that lies outside its task."""
    try:
        plan = Plan.from_json(read_bounded(path, MAX_PLAN_BYTES).decode())
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if wrong := violations(plan, box):
        raise ValueError(f"{path}: lies outside {box.name}: {', '.join(wrong)}")
    return plan


def _compare(hr: bytes, lr: bytes, plan: Plan, scale: int, path: Path) -> None:
    """Raises ValueError when the LR image is not what its plan makes of HR."""
    (again,) = degrade("cpu", [decode_png(hr, "HR")], [plan], scale, usm=False)
    levels, share = difference(again, decode_png(lr, str(path)))
    if levels > ROUNDING_LEVELS or share > ROUNDING_SHARE:
        raise ValueError(f"{path}: rendered again, it differs by up to {levels} levels in {share:.2%} of its values")

"""Whole-image test sets on disk: what `gen.testset` writes and whoever evaluates reads.

A folder holds HR/<image>.png, LR/<task>/<image>.png, plans/<task>/<image>.json (the plan of that LR image) and
testset.json, which is written last: a folder without it is unfinished.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..command import spelling
from ..errors import RunError
from ..records import canonical_json, from_plain, read_json
from ..storage.atomic import write_bytes
from .manifest import MAX_MANIFEST_BYTES

TESTSET = "testset.json"
TESTSET_FORMAT = "realsr-testset-v1"


@dataclass(frozen=True)
class TestImage:
    """One image of a set. name: of its files, without ending. photograph: sha256 of the file it was read from.

    height, width: of HR, which is cropped at the right and the bottom to a multiple of the scale. licence: as given.
    hr_sha256: of the HR file. lr_sha256: of the LR file of every task.
    """

    __test__ = False

    name: str
    photograph: str
    height: int
    width: int
    licence: str
    hr_sha256: str
    lr_sha256: dict[str, str]


@dataclass(frozen=True)
class TestSetRecord:
    """The content of testset.json. recipe: everything that decides the images (`gen.testset.TestsetRecipe`)."""

    __test__ = False

    name: str
    scale: int
    tasks: list[str]
    recipe: dict[str, Any]
    images: list[TestImage]
    versions: dict[str, str]
    skipped: dict[str, int]
    attributions: list[dict[str, Any]]
    format: str = TESTSET_FORMAT

    def save(self, folder: Path) -> None:
        """Write testset.json: the commit point of the set."""
        write_bytes(folder / TESTSET, canonical_json(asdict(self)))


def hr_path(folder: Path, image: str) -> Path:
    """Where an HR image lies."""
    return folder / "HR" / f"{image}.png"


def lr_path(folder: Path, task: str, image: str) -> Path:
    """Where the LR image of a task lies."""
    return folder / "LR" / task / f"{image}.png"


def plan_path(folder: Path, task: str, image: str) -> Path:
    """Where the plan of an LR image lies."""
    return folder / "plans" / task / f"{image}.json"


def load_testset(folder: Path) -> TestSetRecord:
    """Read and check testset.json. Raises `RunError` when it is absent or not of this format."""
    path = folder / TESTSET
    try:
        values = read_json(path, MAX_MANIFEST_BYTES)
        if values.get("format") != TESTSET_FORMAT:
            raise ValueError(f"format is {values.get('format')!r}, this program reads {TESTSET_FORMAT!r}")
        record = from_plain(TestSetRecord, values)
        for image in record.images:
            _check_names(image.name, *image.lr_sha256)
        return record
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: finish the set with {spelling('testset')}") from error
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path} is not a test set of this format: {error}") from error


def _check_names(*names: str) -> None:
    for name in names:
        if not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is not a plain file name")

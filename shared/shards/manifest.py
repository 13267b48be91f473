"""The manifest of a dataset: what is in it. A tar that the manifest does not list does not exist.

The file is a `wids-shard-index-v1` with our fields beside; it holds no time, host or worker, so that equal work gives
equal bytes.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..command import spelling
from ..errors import RunError
from ..records import canonical_json, from_plain, parse_json
from ..storage.atomic import write_bytes
from ..storage.places import Place, read_bounded
from .format import FORMAT

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 2 << 30
"""Larger files are refused unread: a shard takes 223 bytes, an HR image 250, with an attribution 300."""


@dataclass(frozen=True)
class ShardEntry:
    """One shard: relative url of the tar, rows in it, size in bytes, checksums of the tar."""

    url: str
    nsamples: int
    filesize: int
    md5sum: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a dataset folder holds and how it was made.

    recipe: everything that decides the bytes (`gen.recipe.Recipe`). digest: its hash, part of every shard's name.
    photographs: id, sha256, height, width, licence of every HR image that rows were cut from. attributions: whom to
    name for them: attribution, url, licence and the ids of the images. skipped: how many files were passed over, by
    reason. generation: goes up whenever rows are added. first_row: 0, or more in a part that is to be merged. captions:
    what images show, by id; absent from the file when there are none.
    """

    name: str
    subspace: str
    split: str
    digest: str
    recipe: dict[str, Any]
    rows: int
    generation: int
    licence: str
    versions: dict[str, str]
    photographs: list[Any]
    skipped: dict[str, int]
    shardlist: list[ShardEntry] = field(default_factory=list)
    attributions: list[Any] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    first_row: int = 0
    format: str = FORMAT

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`."""
        values = {"__kind__": "wids-shard-index-v1", "wids_version": 1, **asdict(self)}
        if not self.captions:
            del values["captions"]
        return canonical_json(values)

    def identity(self, num_shards: int | None = None) -> str:
        """A hash of what the dataset, or its first shards, hold: equal for equal rows, whatever their shards' names."""
        return hashlib.sha256(canonical_json([entry.sha256 for entry in self.shardlist[:num_shards]])).hexdigest()

    def extends(self, older: "Manifest") -> bool:
        """Whether this is `older` with further rows: full shards are final, a short last one may have grown."""
        before, now = older.shardlist, self.shardlist[: len(older.shardlist)]
        if self.digest != older.digest or self.rows <= older.rows or now[:-1] != before[:-1]:
            return False
        return now[-1:] == before[-1:] or now[-1].nsamples > before[-1].nsamples

    def save(self, folder: Place) -> None:
        """Write the manifest: the commit point of everything listed in it."""
        write_bytes(folder / MANIFEST, self.to_json())


def load_manifest(folder: Place) -> Manifest:
    """Read and check the manifest of a dataset folder. Raises `RunError` when it is absent or not a manifest."""
    path = folder / MANIFEST
    try:
        values = parse_json(read_bounded(path, MAX_MANIFEST_BYTES))
        if values.get("format") != FORMAT:
            raise ValueError(f"format is {values.get('format')!r}, this program reads {FORMAT!r}")
        names = {field.name for field in fields(Manifest)}
        manifest = from_plain(Manifest, {name: value for name, value in values.items() if name in names})
        for entry in (entries := manifest.shardlist):
            _check_entry(entry)
        if len({entry.url for entry in entries}) < len(entries):
            raise ValueError("a shard is listed twice")
        if sum(entry.nsamples for entry in entries) != manifest.rows:
            raise ValueError(f"rows is {manifest.rows}, the shards hold {sum(entry.nsamples for entry in entries)}")
        return manifest
    except FileNotFoundError as error:
        raise RunError(
            f"no dataset at {folder}: {MANIFEST} is missing; render one with {spelling('render')}"
        ) from error
    except (ValueError, AttributeError) as error:
        raise RunError(f"{path} is not a manifest of this format: {error}") from error


def _check_entry(entry: ShardEntry) -> None:
    if not re.fullmatch(r"[a-z0-9-]+\.tar", entry.url):
        raise ValueError(f"shard url {entry.url!r} is not a plain file name")
    if entry.nsamples < 1 or entry.filesize < 0:
        raise ValueError(f"{entry.url} is said to hold {entry.nsamples} rows in {entry.filesize} bytes")


def dataset_name(subspace: str, split: str) -> str:
    """Folder of a dataset below the shards folder: the subspace, with `-val` for the validation split."""
    return subspace if split == "train" else f"{subspace}-{split}"

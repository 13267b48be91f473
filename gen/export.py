"""Export datasets for trainers that read no tar files: paired PNG folders, LMDB, or gt/lr/sr_bicubic triplets.

Each dataset becomes a folder below --out, with configuration files for BasicSR, neosr and traiNNer-redux beside the
images of a training set. PNG images are copied as they are stored. Running the same command again exports only shards
that are new or were not finished.

Examples:
realsr export shards/noise --out pairs
realsr export shards --out pairs --format lmdb
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gen.trainer_configs import write_configs
from gen.verify import find_datasets
from shared.command import spelling
from shared.config import argument, option, parse
from shared.errors import RunError, UsageError, run_command
from shared.progress import progress_bar
from shared.records import canonical_json
from shared.shards.codecs import CODECS, codec_of
from shared.shards.manifest import MANIFEST, Manifest, dataset_name, load_manifest
from shared.shards.reader import Dataset, Stored
from shared.storage.atomic import locked, write_bytes, write_text
from shared.storage.places import place
from shared.text import BYTE_UNITS, quantity

STATE = "export.json"
"""In the folder of an exported dataset: which dataset and format it is of, and the shards that are finished."""
NAME = re.compile(r"[a-z0-9-]+")
PNG_BYTES_PER_PIXEL = 4
"""Upper bound, for the size of an LMDB map."""


@dataclass(frozen=True)
class ExportSettings:
    """What `gen.export` can be asked for."""

    path: str = argument("dataset folder, or a folder of datasets, or the url of either")
    out: str = option("export", "folder that gets one folder for each dataset")
    format: Literal["folders", "lmdb", "triplets"] = option("folders", "layout of the images")


class Folders:
    """Two folders with images of equal names, as BasicSR, neosr and traiNNer-redux read them. hr, lr: their names."""

    hr, lr = "gt", "lq"

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Create what is needed in the folder of the dataset. Raises `UsageError` where that cannot be."""
        self.folder, self.patch = folder, manifest.recipe["patch"]
        for name in (self.hr, self.lr):
            (folder / name).mkdir(exist_ok=True)

    def put(self, pair: Stored, hr: bytes) -> None:
        """Store a pair under its key; what was stored there is replaced. hr: the HR image as PNG."""
        (self.folder / self.hr / f"{pair.key}.png").write_bytes(hr)
        (self.folder / self.lr / f"{pair.key}.png").write_bytes(pair.lr)

    def commit(self) -> None:
        """Store what was put; called after each shard, which the next run then skips."""

    def close(self, keys: list[str]) -> None:
        """Finish: these are all keys, in order."""
        lines = (f"{key}.png ({self.patch},{self.patch},3)\n" for key in keys)
        write_text(self.folder / "meta_info.txt", "".join(lines))


class Triplets(Folders):
    """Three folders: HR, LR, and LR upscaled to the HR size by bicubic interpolation, as SeeSR's data scripts write.

    Where the manifest has captions there is a fourth, `tag`, with a text file for each pair.
    """

    lr, bicubic, tags = "lr", "sr_bicubic", "tag"

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, manifest)
        self.captions = manifest.captions
        for name in (self.bicubic, *([self.tags] if self.captions else [])):
            (folder / name).mkdir(exist_ok=True)

    def put(self, pair: Stored, hr: bytes) -> None:
        super().put(pair, hr)
        (self.folder / self.bicubic / f"{pair.key}.png").write_bytes(_upscaled(pair.lr, self.patch))
        if self.captions:
            caption = self.captions.get(pair.row.hr_id, "")
            (self.folder / self.tags / f"{pair.key}.txt").write_text(caption, encoding="utf-8")


def _upscaled(lr: bytes, side: int) -> bytes:
    """PNG of the image upscaled to side x side pixels."""
    from shared.degradation.cpu import from_8bit, resize, to_8bit
    from shared.degradation.plan import Resize
    from shared.images import decode_png, encode_png

    return encode_png(to_8bit(resize(from_8bit(decode_png(lr, "LR image")), Resize("up", "bicubic", side, side))))


class Lmdb(Folders):
    """Two LMDBs, which are folders, with `meta_info.txt`, as BasicSR and neosr read them."""

    hr, lr = "gt.lmdb", "lq.lmdb"

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        try:
            import lmdb
        except ImportError as error:
            raise UsageError("--format lmdb needs the package lmdb: pip install 'realsr-rebalance[lmdb]'") from error
        super().__init__(folder, manifest)
        self.sides = {self.hr: self.patch, self.lr: self.patch // manifest.recipe["scale"]}
        sizes = {name: side * side * PNG_BYTES_PER_PIXEL + 8192 for name, side in self.sides.items()}
        self.environments = {
            name: lmdb.open(str(folder / name), map_size=(1 << 24) + manifest.rows * size)
            for name, size in sizes.items()
        }
        self.pending: dict[str, list[tuple[bytes, bytes]]] = {name: [] for name in sizes}

    def put(self, pair: Stored, hr: bytes) -> None:
        for name, data in ((self.hr, hr), (self.lr, pair.lr)):
            self.pending[name].append((pair.key.encode(), data))

    def commit(self) -> None:
        for name, environment in self.environments.items():
            with environment.begin(write=True) as transaction:
                for key, data in self.pending[name]:
                    transaction.put(key, data)
            self.pending[name] = []

    def close(self, keys: list[str]) -> None:
        for name, side in self.sides.items():
            self.environments[name].close()
            lines = (f"{key}.png ({side},{side},3) 1\n" for key in keys)  # 1: BasicSR's compression level
            write_text(self.folder / name / "meta_info.txt", "".join(lines))


FORMATS: Mapping[str, type[Folders]] = {"folders": Folders, "lmdb": Lmdb, "triplets": Triplets}


def main(argv: list[str]) -> int:
    """The command; see `ExportSettings`. Returns the exit code."""
    settings = parse(ExportSettings, argv, spelling("export"), __doc__ or "")
    out = Path(settings.out)
    datasets = [Dataset(folder) for folder in find_datasets(place(settings.path))]
    names = [_name(dataset) for dataset in datasets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{settings.path} holds two datasets called {', '.join(sorted(twice))}: export one by one")
    states = [_state(out / dataset.manifest.name, dataset.manifest, settings.format) for dataset in datasets]
    for name, dataset, state in zip(names, datasets, states, strict=True):
        todo = [entry for entry in dataset.manifest.shardlist if state.get(entry.url) != entry.sha256]
        size = quantity(sum(entry.filesize for entry in todo), BYTE_UNITS)
        print(f"{out / name}: {dataset.manifest.rows} pairs, {sum(e.nsamples for e in todo)} to export, about {size}")
    with progress_bar(sum(dataset.manifest.rows for dataset in datasets), "pair") as bar:
        for name, dataset, state in zip(names, datasets, states, strict=True):
            with locked(out / name, "gen.export"):
                export_dataset(dataset, out / name, settings.format, state, bar.update)
    layout, trained = FORMATS[settings.format], [_training_set(each, out, settings.format) for each in datasets]
    for manifest in {each.name: each for each in trained if each}.values():
        written = write_configs(out / manifest.name, manifest, layout.hr, layout.lr)
        print(f"{out / manifest.name}: configurations {', '.join(written)}; give one of them to your trainer")
    return 0


def _training_set(dataset: Dataset, out: Path, format: str) -> Manifest | None:
    """The training set of a dataset's task, if it is exported in this format: its configurations name both sets."""
    if dataset.manifest.split == "train":
        return dataset.manifest
    folder = dataset.folder.parent / dataset_name(dataset.manifest.subspace, "train")
    if not (out / folder.name / STATE).is_file() or not (folder / MANIFEST).is_file():
        return None
    manifest = load_manifest(folder)
    try:
        _state(out / folder.name, manifest, format)
    except (UsageError, RunError):  # of another recipe or format, or damaged
        return None
    return manifest


def _name(dataset: Dataset) -> str:
    """Name of the exported folder. Raises `RunError` for a manifest whose names could lead elsewhere."""
    manifest = dataset.manifest
    if manifest.name != dataset_name(manifest.subspace, manifest.split) or not NAME.fullmatch(manifest.name):
        raise RunError(f"{dataset.folder}: its manifest has the name {manifest.name!r}, which is none of a dataset")
    return manifest.name


def _state(folder: Path, manifest: Manifest, format: str) -> dict[str, str]:
    """SHA-256 of the shards that are exported, by url. Raises `UsageError` for a folder that holds something else."""
    path = folder / STATE
    if not path.is_file():
        if folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise UsageError(f"{folder} holds other files: choose another --out, or empty that folder")
        return {}
    try:
        values = json.loads(path.read_bytes())
        found = values["digest"], values["format"]
        shards = {str(url): str(sha256) for url, sha256 in values["shards"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is not the record of an export: {error}; delete {folder}") from error
    if found != (manifest.digest, format):
        raise UsageError(
            f"{folder} holds recipe {found[0]} as {found[1]}, not {manifest.digest} as {format}: choose another --out, "
            "or delete that folder"
        )
    return shards


def export_dataset(
    dataset: Dataset, folder: Path, format: str, state: dict[str, str], on_rows: Callable[[int], object]
) -> None:
    """Export the shards that `state` does not have. Raises `RunError` for a damaged row, which is named."""
    manifest, keys = dataset.manifest, list[str]()
    _save(folder, manifest, format, state)
    layout = FORMATS[format](folder, manifest)
    for number, entry in enumerate(manifest.shardlist):
        shard = dataset.shard(number)
        keys += shard.keys()
        if state.get(entry.url) != entry.sha256:
            for row in range(entry.nsamples):
                pair = shard.stored(row)
                layout.put(pair, _as_png(pair.hr, pair.key))
            layout.commit()
            state[entry.url] = entry.sha256
            _save(folder, manifest, format, state)
        on_rows(entry.nsamples)
    layout.close(keys)


def _save(folder: Path, manifest: Manifest, format: str, state: dict[str, str]) -> None:
    write_bytes(folder / STATE, canonical_json({"digest": manifest.digest, "format": format, "shards": state}))


def _as_png(data: bytes, key: str) -> bytes:
    """An HR image as PNG: its own bytes if it is one."""
    from shared.images import encode_png

    codec = codec_of(data, key)
    return data if codec is CODECS["png"] else encode_png(codec.decode(data, key))


if __name__ == "__main__":
    sys.exit(run_command(main))

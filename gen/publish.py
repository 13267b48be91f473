"""Upload a dataset, or a folder of datasets, to a dataset repository on Hugging Face's hub.

Everything is checked first, and nothing is uploaded when an image has no licence. Shards go up before the manifests
and cards that name them. When an upload breaks off, the same command goes on with it. The account is that of `hf auth
login` or of the environment variable HF_TOKEN.

Examples:
realsr publish shards NAME/REPO
realsr publish shards/noise NAME/REPO --private
"""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gen.card import CARD, write_folder_card
from gen.verify import check_dataset, find_datasets
from shared.command import spelling
from shared.config import argument, option, parse
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.photos.licences import NOT_GIVEN
from shared.shards.manifest import MANIFEST, Manifest, load_manifest
from shared.text import BYTE_UNITS, quantity

SHARD_FILES = ("*.tar", "*.idx")
OTHER_FILES = (MANIFEST, CARD, "SHA256SUMS", "config.yaml")
HIDDEN = [".*", "*/.*"]


@dataclass(frozen=True)
class PublishSettings:
    """What `gen.publish` can be asked for."""

    folder: str = argument("dataset folder, or a folder of datasets")
    repo: str = argument("repository, as NAME/REPO; it is made if it does not exist")
    private: bool = option(False, "make a new repository private")
    quick: bool = option(False, "check structure alone before the upload, as realsr verify --quick")
    workers: int = option(lambda: len(os.sched_getaffinity(0)), "processes of the check (default: all cores)")
    dry_run: bool = option(False, "check, say what would be uploaded, and stop")


def main(argv: list[str]) -> int:
    """The command; see `PublishSettings`. Returns the exit code."""
    settings = parse(PublishSettings, argv, spelling("publish"), __doc__ or "")
    require_at_least(1, settings, "workers")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.repo):
        raise UsageError(f"repo is {settings.repo!r}: it must be NAME/REPO")
    folder = Path(settings.folder)
    datasets = [dataset for dataset in find_datasets(folder) if isinstance(dataset, Path)]
    manifests = [load_manifest(dataset) for dataset in datasets]
    _require_licences(datasets, manifests)
    _check(datasets, settings)
    if datasets != [folder]:
        write_folder_card(folder)
        _require_configs(folder)
    size = sum(entry.filesize for manifest in manifests for entry in manifest.shardlist)
    rows = sum(manifest.rows for manifest in manifests)
    print(f"{len(datasets)} datasets, {rows} pairs, {quantity(size, BYTE_UNITS)}, to datasets/{settings.repo}")
    if not settings.dry_run:
        print(f"published: {upload(folder, datasets, manifests, settings.repo, settings.private)}")
        print(f"to read it: hf://datasets/{settings.repo} instead of a folder")
    return 0


def _require_licences(datasets: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Raises `UsageError` when a licence is not given: then nobody may know whether the pictures may be shared."""
    for dataset, manifest in zip(datasets, manifests, strict=True):
        missing = [str(photo.get("id")) for photo in manifest.photographs if photo.get("licence") in (None, NOT_GIVEN)]
        if missing:
            raise UsageError(
                f"{dataset}: no licence was given for {len(missing)} of {len(manifest.photographs)} pictures, such as "
                f"{missing[0]}; render with --licence TEXT or --sources FILE into another folder"
            )


def _check(datasets: Sequence[Path], settings: PublishSettings) -> None:
    """Raises `RunError` when something is off in a dataset."""
    for dataset in datasets:
        report = check_dataset(dataset, quick=settings.quick, workers=settings.workers)
        print(report)
        if report.problems:
            raise RunError(f"{dataset} has {len(report.problems)} problems, listed above: nothing was uploaded")


def _require_configs(folder: Path) -> None:
    """Raises `UsageError` for a README of the user's own from which `datasets` could not tell the tasks apart."""
    text = (folder / CARD).read_text()
    header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        values = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict) or not values.get("configs"):
        raise UsageError(
            f"{folder / CARD} has no `configs` in its header, so the tasks could not be told apart on the hub: move it "
            "away, run this command again, and add your words to the file that it writes"
        )


def upload(folder: Path, datasets: Sequence[Path], manifests: Sequence[Manifest], repo: str, private: bool) -> str:
    """Upload the listed shards, then the files that name them; the address of the repository.

    Raises `UsageError` without the package huggingface_hub and `RunError` for whatever the hub answers.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UsageError("publishing needs huggingface_hub: pip install 'realsr-rebalance[hf]'") from error
    api: Any = HfApi()
    prefixes = ["" if dataset == folder else f"{dataset.name}/" for dataset in datasets]
    others = [f"{prefix}{name}" for prefix in prefixes for name in OTHER_FILES] + [CARD]
    shards = [f"{prefix}{pattern}" for prefix in prefixes for pattern in SHARD_FILES]
    unlisted = [
        f"{prefix}{path.name}"
        for prefix, dataset, manifest in zip(prefixes, datasets, manifests, strict=True)
        for path in sorted(dataset.iterdir())
        if path.suffix in (".tar", ".idx") and f"{path.stem}.tar" not in {entry.url for entry in manifest.shardlist}
    ]
    try:
        address = api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        for patterns in (shards, others):
            api.upload_folder(
                repo_id=repo,
                repo_type="dataset",
                folder_path=folder,
                allow_patterns=patterns,
                ignore_patterns=[*HIDDEN, *unlisted],
                commit_message=f"{len(datasets)} datasets of LR-HR pairs",
            )
    except Exception as error:  # the hub's client raises its own, those of its HTTP library, and RuntimeError
        if isinstance(error, MemoryError):
            raise
        raise RunError(f"the hub did not take datasets/{repo}: {error}; run the same command again to go on") from error
    return str(address)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""Dataset cards: the READMEs that Hugging Face's `datasets` reads to open a folder, and people read first.

Every dataset has one, and so has the folder above the datasets, with one configuration for each task.
"""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import yaml

from shared.errors import RunError
from shared.photos.licences import NOT_GIVEN
from shared.shards.format import ADOPTED, extensions
from shared.shards.manifest import MANIFEST, Manifest, dataset_name, load_manifest
from shared.storage.atomic import write_text
from shared.storage.places import Place, folders_below

CARD = "README.md"
MARKER = "<!-- realsr-rebalance writes this file from the manifests below it; without this line it is left alone. -->"
SPLIT_NAMES = {"train": "train", "val": "validation"}
IDENTIFIERS = {"cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-2.0", "pddl", "mit"}
"""Licences that Hugging Face knows by name, of those that photographs come under."""
HOW_CUT = {"grid": "on a grid", "random": "at random places"}
MAX_LISTED = 10_000
"""HR images that a card lists: beyond some MB, a README is not shown."""


def dataset_card(manifest: Manifest) -> str:
    """Text of a dataset's README.md. It states only the licences that were given with the photographs."""
    recipe = manifest.recipe
    files = [{"split": SPLIT_NAMES[manifest.split], "path": data_files(manifest)}]
    configs = [{"config_name": "default", "data_files": files}]
    photographs = "\n".join(
        f"| {_cell(photo['id'])} | {photo['width']} x {photo['height']} | {_cell(photo['licence'])} |"
        for photo in manifest.photographs[:MAX_LISTED]
    )
    if (more := len(manifest.photographs) - MAX_LISTED) > 0:
        photographs += f"\n\n{more} more are listed in manifest.json."
    attributions = "".join(f"* {_attribution(entry)}\n" for entry in manifest.attributions)
    hr, _, lr = extensions(recipe["codec"])
    adopted = recipe["space"] == ADOPTED
    plan = "is empty" if adopted else "holds every number of the degradation"
    origin = (
        f"The pairs were made elsewhere and cut {HOW_CUT[recipe['crops']]}"
        if adopted
        else f"Degradation space `{recipe['space']}`, partition `{recipe['partition']}`"
    )
    skipped = ", ".join(f"{count} {reason}" for reason, count in manifest.skipped.items()) or "none"
    return f"""{_header(f"realsr-rebalance {manifest.name}", [manifest], configs)}
# {manifest.name}: {manifest.rows} LR-HR pairs of subspace `{manifest.subspace}`

HR {recipe["patch"]} x {recipe["patch"]}, LR {recipe["patch"] // recipe["scale"]} x {recipe["patch"] // recipe["scale"]}
(scale {recipe["scale"]}), 8-bit RGB. {origin},
split `{manifest.split}`, seed {recipe["seed"]}. Recipe `{manifest.digest}`, {_extent(manifest)}.
{"LR was made from the sharpened HR (USM); the stored HR is plain." if recipe["usm"] else "No sharpening."}

Members of a row: `{hr}` ({recipe["codec"]}), `json` (flat; `plan` {plan}), `{lr}`.
Check it with `python -m gen.verify .` or `sha256sum --check SHA256SUMS`.

## Photographs

{_licence_summary(manifest)}
{attributions}
| photograph | size | licence |
|---|---|---|
{photographs}

Pictures passed over: {skipped}.
"""


def folder_card(manifests: Sequence[Manifest]) -> str:
    """Text of the README.md above datasets, of which there is at least one: a configuration for each task."""
    tasks: dict[str, list[Manifest]] = {}
    for manifest in sorted(manifests, key=lambda each: (each.subspace, each.split)):
        tasks.setdefault(manifest.subspace, []).append(manifest)
    configs = [
        {
            "config_name": task,
            "data_files": [
                {"split": SPLIT_NAMES[each.split], "path": [f"{each.name}/{file}" for file in data_files(each)]}
                for each in of_task
            ],
        }
        for task, of_task in tasks.items()
    ]
    rows = "\n".join(
        f"| [{each.name}]({each.name}/README.md) | {task} | {SPLIT_NAMES[each.split]} | {each.rows} | "
        f"{_of(each, 'patch')} | {_of(each, 'scale')} | {_origin(each)} | "
        f"{each.digest} |"
        for task, of_task in tasks.items()
        for each in of_task
    )
    first = next(iter(tasks))
    return f"""{_header("realsr-rebalance LR-HR pairs", manifests, configs)}
{MARKER}
# LR-HR pairs of {len(tasks)} degradation {"task" if len(tasks) == 1 else "tasks"}

| dataset | task | split | pairs | HR side | scale | degradation space | recipe |
|---|---|---|---|---|---|---|---|
{rows}

Each task is a configuration: `datasets.load_dataset(PATH, "{first}")`, PATH being this folder or its name on the hub.
The README of each dataset names its photographs and their licences. The tar files are WebDataset shards, of the format
`{manifests[0].format}`.
"""


def _origin(manifest: Manifest) -> str:
    """Space and partition, or how pairs that were made elsewhere were cut."""
    adopted = manifest.recipe.get("space") == ADOPTED
    return f"{_of(manifest, 'space')}, {_of(manifest, 'crops' if adopted else 'partition')}"


def _of(manifest: Manifest, key: str) -> str:
    return _cell(str(manifest.recipe.get(key, "?")))


def write_folder_card(folder: Place) -> None:
    """Write the card of a folder of datasets, unless it has a README that is not ours or holds no dataset.

    When two commands finish at once, the one that writes last sees what the other has committed.
    """
    path = folder / CARD
    while manifests := _manifests_below(folder):
        text = folder_card(manifests)
        found = path.read_text() if path.is_file() else None
        if found == text or (found is not None and MARKER not in found.splitlines()):
            return
        write_text(path, text)


def _manifests_below(folder: Place) -> list[Manifest]:
    """The manifests of the datasets directly below a folder, without those that cannot be read or have another name."""
    found = []
    for dataset in folders_below(folder):
        if re.fullmatch(r"[a-z0-9-]+", dataset.name) and (dataset / MANIFEST).is_file():
            with suppress(RunError):
                manifest = load_manifest(dataset)
                if manifest.split in SPLIT_NAMES and dataset.name == dataset_name(manifest.subspace, manifest.split):
                    found.append(manifest)
    return found


def data_files(manifest: Manifest) -> list[str]:
    """Glob patterns that match the listed tars and no others, in order: a dozen at most, however many shards there are.

    A tar that is not listed, such as one of a growth under way, must not be loaded, so a plain `*.tar` will not do.
    """
    full = [entry.url for entry in manifest.shardlist if re.search(r"-\d{6}\.tar$", entry.url)]
    others = [entry.url for entry in manifest.shardlist[len(full) :]]
    if not full:
        return others
    stem, first, last = full[0][:-10], full[0][-10:-4], full[-1][-10:-4]
    return [f"{stem}{digits}.tar" for digits in digit_patterns(first, last)] + others


def digit_patterns(low: str, high: str) -> list[str]:
    """Patterns for the numbers from `low` to `high` with equally many digits: 008, 012 -> 00[8-9], 01[0-2]."""
    if not low:
        return [""]
    if low[0] == high[0]:
        return [low[0] + rest for rest in digit_patterns(low[1:], high[1:])]
    nines, zeros, start, end = "9" * len(low[1:]), "0" * len(low[1:]), int(low[0]), int(high[0])
    before, after = [], []
    if low[1:] != zeros:
        before, start = [low[0] + rest for rest in digit_patterns(low[1:], nines)], start + 1
    if high[1:] != nines:
        after, end = [high[0] + rest for rest in digit_patterns(zeros, high[1:])], end - 1
    whole = [] if start > end else [f"{start}" if start == end else f"[{start}-{end}]"]
    return before + [digit + "[0-9]" * len(zeros) for digit in whole] + after


def _extent(manifest: Manifest) -> str:
    """Which of the rows these are: those of a generation, or of a part of a larger dataset."""
    first, last = manifest.first_row, manifest.first_row + manifest.rows - 1
    part = f", a part: rows {first} to {last}, to be joined with `python -m gen.merge`" if first else ""
    return f"generation {manifest.generation}{part}"


def _header(name: str, manifests: Sequence[Manifest], configs: Sequence[dict[str, Any]]) -> str:
    """What Hugging Face reads of a card, between its rules."""
    values = {
        "pretty_name": name,
        "task_categories": ["image-to-image"],
        "tags": ["super-resolution", "webdataset"],
        **_licence_keys(manifests),
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False).strip()}\n---"


def _licence_keys(manifests: Sequence[Manifest]) -> dict[str, str]:
    """The header's licence, for Hugging Face; nothing unless every photograph has one."""
    licences = {photo.get("licence", NOT_GIVEN) for each in manifests for photo in each.photographs}
    if not licences or NOT_GIVEN in licences:
        return {}
    (only, *others) = sorted({licence.lower() for licence in licences})
    if not others and only in IDENTIFIERS:
        return {"license": only}
    return {"license": "other", "license_name": "see-photographs", "license_link": "README.md"}


def _licence_summary(manifest: Manifest) -> str:
    """How many photographs stand under which licence; a missing one is said to be missing."""
    counts = Counter(photo["licence"] for photo in manifest.photographs)
    named = "; ".join(f"{_cell(licence)} ({n})" for licence, n in sorted(counts.items()) if licence != NOT_GIVEN)
    unknown = f"No licence was given for {counts[NOT_GIVEN]} of {counts.total()}: ask their owners before sharing."
    return "\n".join(text for text in (named and f"Licences: {named}.", counts[NOT_GIVEN] and unknown) if text)


def _attribution(entry: dict[str, Any]) -> str:
    named = ", ".join(_cell(entry[key]) for key in ("attribution", "url") if entry[key])
    return f"{named} ({_cell(entry['licence'])}; photographs: {len(entry['photographs'])})"


def _cell(text: str) -> str:
    """Text for a table cell: file names may hold anything."""
    return " ".join(text.split()).replace("|", "\\|")

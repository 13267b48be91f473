"""The dataset card: the README that Hugging Face's `datasets` reads to open a folder, and people read first."""

import yaml

from shared.manifest import Manifest

SPLIT_NAMES = {"train": "train", "val": "validation"}


def dataset_card(manifest: Manifest) -> str:
    """Text of a dataset's README.md. It states only the licences that were given with the photographs."""
    recipe = manifest.recipe
    data_files = [{"split": SPLIT_NAMES[manifest.split], "path": [entry.url for entry in manifest.shardlist]}]
    header = {
        "pretty_name": f"realsr-rebalance {manifest.name}",
        "task_categories": ["image-to-image"],
        "tags": ["super-resolution", "webdataset"],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    photographs = "\n".join(
        f"| {_cell(photo['id'])} | {photo['width']} x {photo['height']} | {_cell(photo['licence'])} |"
        for photo in manifest.photographs
    )
    skipped = ", ".join(f"{count} {reason}" for reason, count in manifest.skipped.items()) or "none"
    return f"""---
{yaml.safe_dump(header, sort_keys=False).strip()}
---
# {manifest.name}: {manifest.rows} LR-HR pairs of subspace `{manifest.subspace}`

HR {recipe["patch"]} x {recipe["patch"]}, LR {recipe["patch"] // recipe["scale"]} x {recipe["patch"] // recipe["scale"]}
(scale {recipe["scale"]}), 8-bit RGB PNG. Degradation space `{recipe["space"]}`, partition `{recipe["partition"]}`,
split `{manifest.split}`, seed {recipe["seed"]}. Recipe `{manifest.digest}`, generation {manifest.generation}.
{"LR was made from the sharpened HR (USM); the stored HR is plain." if recipe["usm"] else "No sharpening."}

Members of a row: `hr.png`, `json` (flat; `plan` holds every number of the degradation), `lr.png`.
Check it with `python -m gen.verify .` or `sha256sum --check SHA256SUMS`.

| photograph | size | licence |
|---|---|---|
{photographs}

Pictures passed over: {skipped}.
"""


def _cell(text: str) -> str:
    """Text for a table cell: file names may hold anything."""
    return " ".join(text.split()).replace("|", "\\|")

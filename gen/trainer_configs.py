"""Configuration files that train on an exported dataset with BasicSR, neosr or traiNNer-redux.

The templates in `gen/configs` hold what these trainers need to start: data, a small network, an L1 loss, and the
trainers' own defaults otherwise.
"""

import shlex
from pathlib import Path

from shared.shards.manifest import Manifest, dataset_name
from shared.storage.atomic import write_text

TEMPLATES = Path(__file__).with_name("configs")
READ_NO_LMDB = ("trainner-redux.yml",)
"""traiNNer-redux reads image files whatever its backend says."""


def write_configs(folder: Path, manifest: Manifest, hr: str, lr: str) -> list[str]:
    """Write the configurations into the folder of a training set. Returns the names of the files.

    hr, lr: names of the folders of HR and LR images. The validation set of the task is used if it was exported beside.
    """
    import jinja2  # here, so that the command answers before it is loaded

    val = folder.parent / dataset_name(manifest.subspace, "val")
    folders = {"train": folder, **({"val": val} if (val / hr).is_dir() and (val / lr).is_dir() else {})}
    patch, scale = manifest.recipe["patch"], manifest.recipe["scale"]
    values = {
        "name": f"{manifest.subspace}_x{scale}_{manifest.digest}",
        "patch": patch,
        "scale": scale,
        "pairs": {split: (str((base / hr).resolve()), str((base / lr).resolve())) for split, base in folders.items()},
    }
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), keep_trailing_newline=True)
    written = [n for n in sorted(environment.list_templates()) if not (hr.endswith(".lmdb") and n in READ_NO_LMDB)]
    for name in written:
        path = (folder / name).resolve()
        write_text(path, environment.get_template(name).render(values, here=shlex.quote(str(path))))
    return written

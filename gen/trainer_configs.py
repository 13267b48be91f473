"""Configuration files that train on an exported dataset with BasicSR, neosr or traiNNer-redux.

They hold what these trainers need to start: data, a small network, an L1 loss, the trainers' own defaults otherwise.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from shared.shards.manifest import Manifest, dataset_name
from shared.storage.atomic import write_text

ITERATIONS, LEARNING_RATE = 450_000, 2e-4
BATCH, WORKERS = 16, 4


def write_configs(folder: Path, manifest: Manifest, hr: str, lr: str) -> list[str]:
    """Write the configurations into the folder of a training set; names of the files.

    hr, lr: names of the folders of HR and LR images. The validation set of the task is used if it was exported beside.
    """
    written = []
    val = folder.parent / dataset_name(manifest.subspace, "val")
    folders = {"train": folder, **({"val": val} if (val / hr).is_dir() and (val / lr).is_dir() else {})}
    pairs = {split: (str((base / hr).resolve()), str((base / lr).resolve())) for split, base in folders.items()}
    for name, (make, reads_lmdb) in CONFIGS.items():
        if reads_lmdb or not hr.endswith(".lmdb"):
            write_text(folder / name, make(manifest, pairs))
            written.append(name)
    return written


Pairs = Mapping[str, tuple[str, str]]
"""Split -> folder of HR images, folder of LR images."""


def _name(manifest: Manifest) -> str:
    return f"{manifest.subspace}_x{manifest.recipe['scale']}_{manifest.digest}"


def basicsr(manifest: Manifest, pairs: Pairs) -> str:
    """Options of BasicSR: python basicsr/train.py -opt basicsr.yml."""
    patch, scale = manifest.recipe["patch"], manifest.recipe["scale"]

    def dataset(split: str, **options: Any) -> dict[str, Any]:
        hr, lr = pairs[split]
        backend = {"type": "lmdb" if hr.endswith(".lmdb") else "disk"}
        return {
            "name": split,
            "type": "PairedImageDataset",
            "dataroot_gt": hr,
            "dataroot_lq": lr,
            "io_backend": backend,
            **options,
        }

    loading = {
        "gt_size": patch,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": WORKERS,
        "batch_size_per_gpu": BATCH,
        "dataset_enlarge_ratio": 1,
        "prefetch_mode": None,
    }
    options: dict[str, Any] = {
        "name": _name(manifest),
        "model_type": "SRModel",
        "scale": scale,
        "num_gpu": 1,
        "datasets": {"train": dataset("train", **loading)},
        "network_g": {
            "type": "MSRResNet",
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 64,
            "num_block": 16,
            "upscale": scale,
        },
        "path": {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": LEARNING_RATE, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [ITERATIONS // 2, ITERATIONS * 3 // 4], "gamma": 0.5},
            "total_iter": ITERATIONS,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": True, "wandb": None},
        "dist_params": {"backend": "nccl", "port": 29500},
    }
    if "val" in pairs:
        options["datasets"]["val"] = dataset("val")
        psnr = {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": True}
        options["val"] = {"val_freq": 5000, "save_img": False, "metrics": {"psnr": psnr}}
    return yaml.safe_dump(options, sort_keys=False)


def trainner_redux(manifest: Manifest, pairs: Pairs) -> str:
    """Options of traiNNer-redux: python train.py -opt trainner-redux.yml. Its lists of folders may hold other tasks."""
    scale = manifest.recipe["scale"]

    def dataset(split: str, **options: Any) -> dict[str, Any]:
        hr, lr = pairs[split]
        return {"name": split, "type": "pairedimagedataset", "dataroot_gt": [hr], "dataroot_lq": [lr], **options}

    loading = {
        "lq_size": manifest.recipe["patch"] // scale,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": WORKERS,
        "batch_size_per_gpu": BATCH,
        "accum_iter": 1,
    }
    options: dict[str, Any] = {
        "name": _name(manifest),
        "scale": scale,
        "use_amp": True,
        "amp_bf16": True,
        "num_gpu": "auto",
        "datasets": {"train": dataset("train", **loading)},
        "network_g": {"type": "compact"},
        "path": {"strict_load_g": True, "resume_state": None},
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "AdamW", "lr": LEARNING_RATE, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [ITERATIONS // 2, ITERATIONS * 3 // 4], "gamma": 0.5},
            "total_iter": ITERATIONS,
            "warmup_iter": -1,
            "losses": [{"type": "l1loss", "loss_weight": 1.0}],
        },
        "logger": {"print_freq": 100, "save_checkpoint_freq": 5000, "use_tb_logger": True},
    }
    if "val" in pairs:
        options["datasets"]["val"] = dataset("val")
        psnr = {"type": "calculate_psnr", "crop_border": scale, "test_y_channel": True}
        options["val"] = {
            "val_enabled": True,
            "val_freq": 5000,
            "save_img": False,
            "metrics_enabled": True,
            "metrics": {"psnr": psnr},
        }
    return yaml.safe_dump(options, sort_keys=False)


def neosr(manifest: Manifest, pairs: Pairs) -> str:
    """Options of neosr: python train.py -opt neosr.toml."""
    scale = manifest.recipe["scale"]
    hr, lr = map(json.dumps, pairs["train"])  # a JSON string is a TOML string
    val = ""
    if "val" in pairs:
        val_hr, val_lr = map(json.dumps, pairs["val"])
        val = f"""
[datasets.val]
name = "val"
type = "paired"
dataroot_gt = {val_hr}
dataroot_lq = {val_lr}

[val]
val_freq = 5000

[val.metrics.psnr]
type = "calculate_psnr"
"""
    return f"""name = {json.dumps(_name(manifest))}
model_type = "image"
scale = {scale}
use_amp = true
bfloat16 = true

[datasets.train]
type = "paired"
dataroot_gt = {hr}
dataroot_lq = {lr}
patch_size = {manifest.recipe["patch"] // scale}
batch_size = {BATCH}
{val}
[path]

[network_g]
type = "compact"

[train]
ema = 0.999

[train.optim_g]
type = "adamw"
lr = {LEARNING_RATE}
betas = [ 0.9, 0.99 ]
weight_decay = 0.0

[train.pixel_opt]
type = "L1Loss"
loss_weight = 1.0

[logger]
total_iter = {ITERATIONS}
save_checkpoint_freq = 5000
use_tb_logger = true
"""


CONFIGS: Mapping[str, tuple[Callable[[Manifest, Pairs], str], bool]] = {
    "basicsr.yml": (basicsr, True),
    "neosr.toml": (neosr, True),
    "trainner-redux.yml": (trainner_redux, False),
}
"""File -> its text, and whether the trainer reads LMDB (traiNNer-redux reads image files whatever the backend says)."""

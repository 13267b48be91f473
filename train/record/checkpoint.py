"""Checkpoints: whole or absent, never a pickle that executes; `latest` is the pointer, written last.

A checkpoint folder holds model.safetensors, ema.safetensors (both with the network's name and options in their
metadata), network.pth (params and params_ema in official keys, for other tools), optimizer.pt and state.json; of a
network that is trained beside, such as the discriminator, <name>.safetensors and <name>.pth.
"""

import json
import math
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from shared.errors import RunError, UsageError
from shared.records import read_json
from shared.storage.atomic import TEMPORARY_PREFIX, sync_folder, write_text
from train.networks.weights import NetworkSpec, Weights
from train.record.state import LATEST, State, latest_checkpoint

MODEL, EMA = "model", "ema"
BEST, SCORE = "best", "psnr.json"
"""Folder of the best checkpoint in a run folder, and the file there that says how good it is."""


def save_checkpoint(
    run: Path, state: State, spec: NetworkSpec, networks: dict[str, Weights], optimizers: dict[str, Any], keep: int
) -> Path:
    """Write the checkpoint of `state.step`, point `latest` at it, drop all but the last `keep`. Returns its folder.

    networks: weights of the generator as MODEL and EMA, of networks trained beside it by their names.
    Raises `RunError` when the files cannot be written: the previous checkpoint is as it was.
    """
    folder, temporary = _folder(run, state.step), _folder(run, state.step, TEMPORARY_PREFIX)
    try:
        for leftover in folder.parent.glob(f"{TEMPORARY_PREFIX}*"):  # of a writer that was killed
            shutil.rmtree(leftover)
        temporary.mkdir(parents=True)
        _write(temporary, state, spec, networks, optimizers)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        sync_folder(folder.parent)
        write_text(run / LATEST, folder.name)
        done = sorted(path for path in folder.parent.glob("step-*") if path <= folder)  # later: of a crashed future
        for old in done[:-keep]:
            shutil.rmtree(old)
    except (OSError, RuntimeError) as error:  # what a full disk becomes in Python and in torch
        shutil.rmtree(temporary, ignore_errors=True)
        kept = latest_checkpoint(run)
        raise RunError(
            f"the checkpoint of step {state.step} cannot be written ({error}): free some space in {run} and run the "
            f"same command again; {f'{kept.name} is whole' if kept else 'there is none before it'}"
        ) from error
    return folder


def _folder(run: Path, step: int, prefix: str = "") -> Path:
    return run / "checkpoints" / f"{prefix}step-{step:08d}"


def _write(
    folder: Path, state: State, spec: NetworkSpec, networks: dict[str, Weights], optimizers: dict[str, Any]
) -> None:
    """Write the files of a checkpoint, to the disk itself."""
    networks = {
        name: {k: v.detach().cpu().contiguous() for k, v in weights.items()} for name, weights in networks.items()
    }
    for name, weights in networks.items():
        described = spec.metadata() if name in (MODEL, EMA) else {}
        (folder / f"{name}.safetensors").write_bytes(save(weights, described))
        if name not in (MODEL, EMA):
            torch.save({"params": weights}, folder / f"{name}.pth")
    torch.save({"params": networks[MODEL], "params_ema": networks[EMA]}, folder / "network.pth")
    torch.save(optimizers, folder / "optimizer.pt")
    (folder / "state.json").write_text(json.dumps(asdict(state)))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def keep_best(run: Path, step: int, psnr_db: float) -> None:
    """Keep the checkpoint of `step` as run/BEST, without copying its files, if its PSNR is the highest so far."""
    folder, best = _folder(run, step), run / BEST
    try:
        before = float(read_json(best / SCORE)["psnr_db"])
    except (OSError, ValueError, KeyError, TypeError):
        before = -math.inf
    if psnr_db <= before or not folder.is_dir():
        return
    temporary = run / f"{TEMPORARY_PREFIX}{BEST}"
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary, copy_function=_link)
    write_text(temporary / SCORE, json.dumps({"step": step, "psnr_db": psnr_db}) + "\n")
    shutil.rmtree(best, ignore_errors=True)
    temporary.rename(best)


def _link(source: str, target: str) -> None:
    """A second name of a file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def load_optimizers(folder: Path) -> dict[str, Any]:
    """State of the optimisers by the name of their network; tensors and plain values only, never code.

    Raises `RunError` for a file that holds anything else.
    """
    path = folder / "optimizer.pt"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever they like, and torch's text advises to trust them
        raise RunError(f"{path} cannot be read without running code ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds no states of optimisers")
    return content


def weights_file(checkpoint: Path) -> Path:
    """The averaged weights of a run or checkpoint folder, or the file itself. Raises `UsageError` for other folders."""
    if not checkpoint.is_dir():
        return checkpoint
    folder = latest_checkpoint(checkpoint) or checkpoint
    if not (folder / "ema.safetensors").is_file():
        raise UsageError(f"{checkpoint} is neither a run nor a checkpoint folder: it holds no ema.safetensors")
    return folder / "ema.safetensors"

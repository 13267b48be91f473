"""Weights between those of two networks."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from shared.errors import RunError
from shared.storage.atomic import write_bytes
from train.networks.weights import load_weights, read_spec
from train.record.checkpoint import weights_file


def interpolate(a: Path, b: Path, alpha: float, out: Path) -> None:
    """Write (1 - alpha) a + alpha b to `out`, a .safetensors or a .pth file; whole numbers are those of a.

    Raises `RunError` when the two do not hold weights of the same names and shapes.
    """
    files = [weights_file(path) for path in (a, b)]
    first, second = map(load_weights, files)
    for key in sorted(first.keys() | second.keys()):
        shapes = [tuple(one[key].shape) if key in one else None for one in (first, second)]
        if shapes[0] != shapes[1]:
            raise RunError(f"{a} and {b} are not of one network: {key!r} is {shapes[0]} and {shapes[1]}")
    mixed = {
        key: torch.lerp(value, second[key], alpha) if value.is_floating_point() else value
        for key, value in first.items()
    }
    if out.suffix == ".pth":
        buffer = io.BytesIO()
        torch.save({"params": mixed}, buffer)
        write_bytes(out, buffer.getvalue())
        return
    specs = [read_spec(file) for file in files]
    spec = next(filter(None, specs), None)
    described = {"network": json.dumps(asdict(spec))} if spec else {}
    write_bytes(out, save({key: value.contiguous() for key, value in mixed.items()}, described))

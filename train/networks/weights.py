"""Weights of networks and the files that hold them; such a file may come from anybody, and none of it is ever run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from shared.errors import RunError, UsageError
from shared.records import from_plain, parse_json
from train.networks import DETECTED
from train.networks.build import build_network
from train.networks.detected import detect

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class NetworkSpec:
    """Which network a weights file belongs to."""

    name: str
    options: dict[str, int]
    scale: int

    def build(self, seed: int = 0) -> nn.Module:
        """A freshly initialised network. Raises `UsageError` for one that a file must tell, and as `build_network`."""
        if self.name == DETECTED:
            raise UsageError(f"--network.name {DETECTED} is whatever a weights file holds: give --init FILE")
        return build_network(self.name, self.options, self.scale, seed)

    def load(self, weights: Weights, source: str) -> nn.Module:
        """The network with these weights. Raises `RunError` that names `source` when they are of another one."""
        if self.name == DETECTED:
            try:
                return detect(weights, self.scale)
            except RunError as error:
                raise RunError(f"{source}: {error}") from error
        self._require_room(weights, source)
        network = self.build()
        try:
            fill(network, weights, source)
        except RunError as error:
            options = "".join(f", {name} {value}" for name, value in self.options.items())
            raise RunError(f"{error}; wanted is {self.name} of scale {self.scale}{options}") from error
        return network

    def _require_room(self, weights: Weights, source: str) -> None:
        """Raises `RunError` when the options claim more than the tensors of a file can hold, before it is allocated.

        Every network here has layers of width x width in every block, and a table of window x window.
        """
        sizes = self.options
        width = max((sizes.get(name, 1) for name in ("num_feat", "num_grow_ch", "embed_dim")), default=1)
        blocks = prod(sizes.get(name, 1) for name in ("num_block", "num_groups", "depth", "mlp_ratio"))
        claimed = max(width**2 * blocks, sizes.get("window_size", 1) ** 2, *sizes.values(), 1)
        if claimed > (held := sum(tensor.numel() for tensor in weights.values())):
            options = ", ".join(f"{name} {value}" for name, value in sizes.items())
            raise RunError(
                f"{source} does not fit the network: {self.name} with {options} has at least {claimed:,} values, the "
                f"file holds {held:,}"
            )


def load_weights(path: Path) -> Weights:
    """Tensors of a .safetensors or .pth file; of a .pth, `params_ema` before `params` before the file itself.

    Raises `UsageError` when the file is not there, `RunError` when it is not a weights file. Never runs code from it.
    """
    if not path.is_file():
        raise UsageError(
            f"no weights file {path}: put one there (.pth in official keys, or .safetensors), or name a run"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever they like, and torch's text advises to trust them
        reason = type(error).__name__
        raise RunError(f"{path} is not a weights file that can be read without running code ({reason})") from error
    for key in ("params_ema", "params"):
        if isinstance(content, Mapping) and key in content:
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise RunError(f"{path} holds no tensors under params_ema, params or at its top level")
    return dict(content)


def fill(network: nn.Module, weights: Weights, source: str) -> None:
    """Load weights into a network. Raises `RunError` that names the first key or shape that does not fit."""
    own = network.state_dict()
    for key in sorted(own.keys() | weights.keys()):
        if key not in own or key not in weights:
            raise RunError(
                f"{source} does not fit the network: key {key!r} is {'not in the file' if key in own else 'unknown'}"
            )
        if own[key].shape != weights[key].shape:
            shapes = f"{tuple(weights[key].shape)} in the file, {tuple(own[key].shape)} in the network"
            raise RunError(f"{source} does not fit the network: {key!r} is {shapes}")
    network.load_state_dict(weights)


def read_spec(path: Path) -> NetworkSpec | None:
    """The network that a .safetensors file of ours names, else None. Raises `RunError` when it names none rightly."""
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("network")
    try:
        return from_plain(NetworkSpec, parse_json(text)) if text else None
    except ValueError as error:
        raise RunError(f"{path}: its metadata name no network of this program: {error}") from error


def weights_digest(weights: Weights) -> str:
    """sha256 over names and values."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Weights of networks and the files that hold them; such a file may come from anybody, and none of it is ever run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal

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
Part = Literal["generator", "discriminator"]
WRAPPINGS = ("params_ema", "params", "state_dict", "model", "net")
"""Under these keys a file may hold the weights, the first one that it has."""
PARTS: dict[Part, tuple[str, ...]] = {
    "generator": ("generator", "netG", "net_g"),
    "discriminator": ("discriminator", "netD", "net_d"),
}
"""Names of the two networks of a GAN, as keys or as prefixes of keys."""
PREFIXES = ("module.", "_orig_mod.")
MAX_WRAPPINGS = 4
LEAST_SHARE = 0.5
"""Of a network's weights, that a file must hold for training to begin from it."""
HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class NetworkSpec:
    """Which network a weights file belongs to."""

    name: str
    options: dict[str, int]
    scale: int

    def metadata(self) -> dict[str, str]:
        """What a .safetensors file of ours says of its network; `read_spec` reads it."""
        return {"network": json.dumps(asdict(self))}

    def build(self, seed: int = 0) -> nn.Module:
        """A freshly initialised network. Raises `UsageError` as `build_network` does, and for one that a file tells."""
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

    def begin(self, weights: Weights, source: str, seed: int) -> tuple[nn.Module, list[str]]:
        """The network to train from these weights, with what they do not hold initialised, and what to say of that.

        Tensors of equal name and shape are taken, as with BasicSR's `strict_load: false`. Raises `RunError` as `load`
        does when they hold less than half of the network's values, such as those of a network of another width.
        """
        try:
            return self.load(weights, source), []
        except RunError as misfit:
            if self.name == DETECTED:
                raise
            network = self.build(seed)
            own = network.state_dict()
            fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
            share = sum(map(torch.numel, fitting.values())) / sum(map(torch.numel, own.values()))
            filled = f"{len(fitting)} of {len(own)} tensors, {share:.1%} of the network"
            if share < LEAST_SHARE:
                raise RunError(
                    f"{misfit}; of equal name and shape are {filled}, and half is the least: make the network as the "
                    "file's is (--network.options), or leave --init out"
                ) from misfit
            network.load_state_dict(fitting, strict=False)
            fresh = sorted({key.rpartition(".")[0] for key in own.keys() - fitting.keys()})
            left = sorted({key.rpartition(".")[0] for key in weights.keys() - fitting.keys()})
            note = f"{source} fills {filled}"
            note += f"; at random begin {', '.join(fresh)}" if fresh else ""
            return network, [note + (f"; not used are {', '.join(left)}" if left else "")]


def load_weights(path: Path, part: Part = "generator") -> Weights:
    """Tensors of a .safetensors or .pth file in whatever wrapping other programs put them; half precision as float32.

    Known are `params_ema` before `params`, `state_dict`, `model`, `net`; a generator and a discriminator in one file,
    of which `part` is taken; and prefixes of all keys such as `module.`. Raises `UsageError` when the file is not
    there, `RunError` when it is not a weights file. Never runs code from it.
    """
    if not path.is_file():
        raise UsageError(
            f"no weights file {path}: put one there (.pth in official keys, or .safetensors), or name a run"
        )
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise whatever they like, and torch's text advises to trust them
        reason = type(error).__name__
        raise RunError(f"{path} is not a weights file that can be read without running code ({reason})") from error
    weights = _unwrapped(content, part)
    if weights is None:
        raise RunError(f"{path} holds no tensors under {', '.join(WRAPPINGS)} or at its top level")
    return {key: value.float() if value.dtype in HALF else value for key, value in weights.items()}


def _unwrapped(content: Any, part: Part) -> Weights | None:
    """The tensors of one network by its own names of keys; None when there are none."""
    for _ in range(MAX_WRAPPINGS):
        if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
            return None
        inner = next(
            (content[key] for key in (*WRAPPINGS, *PARTS[part]) if isinstance(content.get(key), Mapping)), None
        )
        if inner is None:
            break
        content = inner
    weights = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if len(weights) < len(content) or not weights:
        return None
    for _ in range(MAX_WRAPPINGS):
        own = {f"{name}." for name in PARTS[part]}
        mine = [key for key in weights if key.startswith(tuple(own))]
        others = {f"{name}." for names in PARTS.values() for name in names} - own
        if mine and all(key.startswith((*own, *others)) for key in weights):
            weights = {key: weights[key] for key in mine}
        prefix = next((p for p in (*PREFIXES, *own) if all(key.startswith(p) for key in weights)), None)
        if prefix is None:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


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

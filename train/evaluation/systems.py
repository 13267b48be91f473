"""Systems to measure: a network of ours, a network that spandrel recognises, bicubic, or the results of a program."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from shared.errors import RunError, UsageError
from shared.photos.files import SUFFIXES
from train.evaluation.settings import BICUBIC, EvaluateSettings
from train.evaluation.testsets import Image, decode_file, file_digest
from train.evaluation.tiles import NotFiniteOutputError, Tiling, choose_tiling, footprint, upscale
from train.networks.detected import recognise
from train.networks.weights import NetworkSpec, Weights, load_weights, read_spec, weights_digest
from train.record.checkpoint import weights_file
from train.settings import NetworkSettings


@dataclass(frozen=True)
class System:
    """A system to measure.

    words: its name in messages and tables. identity: equal for systems that give equal outputs. scale: HR side / LR
    side, None if any. output: from test set, image and scale to uint8 [scale h, scale w, 3] RGB, None when it has none.
    tiling: how a network takes large images.
    """

    words: str
    identity: str
    scale: int | None
    output: Callable[[str, Image, int], np.ndarray | None]
    tiling: Tiling | None = None


def bicubic(lr: np.ndarray, scale: int) -> np.ndarray:
    """Bicubic upscaling by OpenCV's INTER_CUBIC, the usual baseline of test tables. uint8 [scale h, scale w, 3]."""
    height, width, _ = lr.shape
    return cv2.resize(lr, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)


class Results:
    """Results of another program: FOLDER/<test set>/<image>.* or FOLDER/<image>.*; a suffix may follow the name."""

    def __init__(self, folder: Path) -> None:
        """Raises `UsageError` when the folder holds no images."""
        self.folder = folder
        files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
        if not files:
            raise UsageError(f"results is {str(folder)!r}: no such folder, or no images in it")
        listing = sorted((str(file.relative_to(folder)), file_digest(file)) for file in files)
        self.identity = hashlib.sha256(repr(listing).encode()).hexdigest()
        self._stems: dict[Path, dict[str, Path]] = {}
        for path in sorted(files):
            self._stems.setdefault(path.parent, {})[path.stem] = path

    def output(self, testset: str, image: Image, scale: int) -> np.ndarray | None:
        """The result for an image, uint8 [scale h, scale w, 3] RGB; None when there is none.

        Raises `RunError` for a file that cannot be decoded, or an image of another size.
        """
        path = self._find(self._stems.get(self.folder / testset, {}), image.name) or self._find(
            self._stems.get(self.folder, {}), image.name
        )
        if path is None:
            return None
        output = decode_file(path)
        wanted = (image.lr.shape[0] * scale, image.lr.shape[1] * scale)
        if output.shape[:2] != wanted:
            size = f"{output.shape[1]} x {output.shape[0]}"
            raise RunError(f"{path} is {size} pixels: {scale} times the LR image is {wanted[1]} x {wanted[0]}")
        return output

    @staticmethod
    def _find(stems: Mapping[str, Path], name: str) -> Path | None:
        """The file of that name, or the one with a suffix after a mark, such as 0801_out or 0801-x4."""
        if name in stems:
            return stems[name]
        longer = [path for stem, path in stems.items() if re.match(re.escape(name) + r"[^0-9A-Za-z]", stem)]
        if len(longer) > 1:
            raise RunError(f"{longer[0]} and {longer[1].name} both could be the result of {name!r}: keep one of them")
        return longer[0] if longer else None


@dataclass(frozen=True)
class Loaded:
    """A network read from a file, in evaluation mode: RGB float [1, 3, h, w] in [0, 1] to [1, 3, scale h, scale w]."""

    network: nn.Module
    scale: int
    identity: str
    words: str


def open_system(settings: EvaluateSettings, device: torch.device) -> System:
    """The system that the options --checkpoint and --results name."""
    if settings.results is not None:
        found = Results(Path(settings.results))
        words = f"pictures in {settings.results}"  # as the files of evaluations that were begun have it
        return System(words, found.identity, None, found.output)
    if settings.checkpoint == BICUBIC:
        return System(BICUBIC, BICUBIC, None, lambda testset, image, scale: bicubic(image.lr, scale))
    loaded = load_network(Path(str(settings.checkpoint)), settings.network)
    network = loaded.network.to(device)
    tiling = choose_tiling(footprint(network, device), settings.memory_gb, settings.tile, settings.overlap)

    def output(testset: str, image: Image, scale: int) -> np.ndarray:
        try:
            return upscale(network, image.lr, scale, tiling, device)
        except NotFiniteOutputError as error:
            raise RunError(f"{loaded.words}: {error} for {testset}/{image.name}") from error

    return System(loaded.words, loaded.identity, loaded.scale, output, tiling)


def load_network(checkpoint: Path, named: NetworkSettings | None = None) -> Loaded:
    """The averaged network of a run, a checkpoint folder or a weights file.

    A file that this project wrote names its network. Another file is recognised by its keys (MSRResNet, RRDBNet, or
    any network that spandrel knows), unless `named` gives its network, with a scale of 4. No code in the file is run.
    Raises `UsageError` for a file that is not there, `RunError` for weights that fit no network.
    """
    file = weights_file(checkpoint)
    weights = load_weights(file)
    spec = read_spec(file) or (NetworkSpec(named.name, named.options, 4) if named else _recognise(weights))
    if spec is None:
        try:
            found = recognise(weights)
        except RunError as error:
            raise RunError(
                f"{file}: {error}; give --network.name and --network.options, or evaluate the images that its own "
                "program makes with --results"
            ) from error
        return Loaded(Detected(found).eval(), found.scale, weights_digest(weights), f"{found.architecture.name} {file}")
    network = spec.load(weights, str(file))
    multiple = getattr(network, "unshuffle", 1) * getattr(network, "window_size", 1)
    if multiple > 1:
        network = Padded(network, multiple, spec.scale)
    return Loaded(network.eval(), spec.scale, weights_digest(weights), f"{spec.name} {file}")


def _recognise(weights: Weights) -> NetworkSpec | None:
    """Name and sizes of an RRDBNet or MSRResNet by its keys; None for any other network."""
    parts = {key.split(".")[0] for key in weights}
    num_block = len({key.split(".")[1] for key in weights if key.startswith("body.")})
    first = weights.get("conv_first.weight", torch.empty(0, 0)).shape
    if parts == RRDBNET and "body.0.rdb1.conv1.weight" in weights and first[1] in RRDBNET_SCALES:
        options = {"num_feat": first[0], "num_block": num_block}
        options["num_grow_ch"] = weights["body.0.rdb1.conv1.weight"].shape[0]
        return NetworkSpec("rrdbnet", options, RRDBNET_SCALES[first[1]])
    if parts - {"upconv2"} == MSRRESNET and "body.0.conv1.weight" in weights:
        step = weights["upconv1.weight"].shape[0] // first[0]
        scale = 4 if "upconv2" in parts else 3 if step == 9 else 2
        return NetworkSpec("msrresnet", {"num_feat": first[0], "num_block": num_block}, scale)
    return None


RRDBNET = {"conv_first", "body", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"}
RRDBNET_SCALES = {3: 4, 12: 2, 48: 1}
"""Scale by the input channels of the first layer: for smaller scales the image is unshuffled."""
MSRRESNET = {"conv_first", "body", "upconv1", "conv_hr", "conv_last"}


class Detected(nn.Module):
    """A network that spandrel calls: it pads the input to the sizes the network needs, and picks the image output."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.model, self._found = found.model, found

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        return self._found(lr)


class Padded(nn.Module):
    """A network whose input sides must be multiples of `multiple`: the input is padded by reflection, the output cut.

    Where an image is too small for that, its last row or column is repeated.
    """

    def __init__(self, network: nn.Module, multiple: int, scale: int) -> None:
        super().__init__()
        self.network, self.multiple, self.scale = network, multiple, scale

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        height, width = lr.shape[-2:]
        right, bottom = -width % self.multiple, -height % self.multiple
        x, y = min(right, width - 1), min(bottom, height - 1)
        lr = functional.pad(functional.pad(lr, (0, x, 0, y), "reflect"), (0, right - x, 0, bottom - y), "replicate")
        return self.network(lr)[..., : height * self.scale, : width * self.scale]

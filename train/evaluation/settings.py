"""What the commands of an evaluation can be asked for; checked before PyTorch is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from shared.config import argument, option
from shared.errors import UsageError, require, require_at_least
from train.settings import NetworkSettings

BICUBIC = "bicubic"
FORMATS = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the files that `train.upscale` writes."""
LPIPS = ("vgg", "alex")


@dataclass(frozen=True)
class EvaluateSettings:
    """What `train.evaluate` can be asked for."""

    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "basic": ("checkpoint", "results", "testset", "out"),
        "measures": ("border", "rounded", "lpips"),
    }
    checkpoint: str | None = option(None, "run folder, checkpoint folder, .pth or .safetensors file, or 'bicubic'")
    results: str | None = option(None, "folder of result images: DIR/SET/<image>.png or DIR/<image>.png")
    testset: list[str] | None = option(None, "test sets as NAME=PATH, or PATH to take the folder's name")
    out: str = option("evaluation", "folder for images.csv, summary.json, .md and .tex, and the outputs")
    network: NetworkSettings | None = option(None, "network of a file whose weights do not show which it is, at x4")
    border: int = option(4, "pixels cropped from every side before measuring; 0 is also common")
    rounded: bool = option(False, "follow the other convention: Y rounded to whole levels; SSIM's contrast is cut at 0")
    lpips: list[str] | None = option(None, "LPIPS networks to measure with: vgg, alex (files: docs/results.md)")
    tile: int | None = option(None, "side of a tile, LR pixels (default: what fits into --memory-gb)")
    overlap: int | None = option(None, "LR pixels computed around a tile (default: receptive radius, at most 32)")
    memory_gb: float = option(4.0, "memory that the network may take for one tile")
    keep_images: bool = option(True, "keep the outputs as PNG, for comparison sheets")
    overwrite: bool = option(False, "begin anew where --out holds another evaluation")

    def __post_init__(self) -> None:
        """Raises `UsageError` unless there is something to measure, and a way to do so."""
        if not self.testset:
            raise UsageError("give --testset NAME=PATH ...: there is nothing to measure on")
        if (self.checkpoint is None) == (self.results is None):
            raise UsageError("give one of --checkpoint F and --results DIR")
        require_at_least(0, self, "border", "overlap")
        require_at_least(1, self, "tile")
        for net in self.lpips or ():
            if net not in LPIPS:
                raise UsageError(f"lpips is {net!r}: choose from {', '.join(LPIPS)}")
        for name, path in {"checkpoint": self.checkpoint, "results": self.results}.items():
            if path is not None and path != BICUBIC and not Path(path).exists():
                raise UsageError(f"{name} is {path}: there is no such file or folder")


@dataclass(frozen=True)
class UpscaleSettings:
    """What `train.upscale` can be asked for."""

    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "basic": ("checkpoint", "outscale", "suffix", "format", "overwrite"),
    }
    input: str = argument("an image, or a folder of images")
    output: str = argument("a file (.png, .jpg or .webp), or a folder")
    checkpoint: str | None = option(None, "run folder, checkpoint folder, .pth or .safetensors file")
    network: NetworkSettings | None = option(None, "network of a file whose weights do not show which it is, at x4")
    tile: int | None = option(None, "side of a tile, pixels (default: what fits into --memory-gb)")
    overlap: int | None = option(None, "pixels computed around a tile (default: receptive radius, at most 32)")
    memory_gb: float = option(4.0, "memory that the network may take for one tile")
    outscale: float | None = option(
        None, "output side / input side (default: the network's scale); the network's output is resized to it"
    )
    suffix: str = option("", "ending of the names of outputs in a folder, such as _x4")
    format: Literal["png", "jpg", "webp"] = option(
        "png", "format of outputs in a folder; jpg and webp have 8 bits and a quality of 95"
    )
    overwrite: bool = option(False, "make outputs again that already exist")

    def __post_init__(self) -> None:
        """Raises `UsageError` for a checkpoint that is not there, and for values that make no output."""
        if not self.checkpoint:
            raise UsageError("give --checkpoint F (see --help)")
        if not Path(self.checkpoint).exists():
            raise UsageError(f"checkpoint is {self.checkpoint}: there is no such file or folder")
        rules = {
            "outscale": ("above 0 and at most 16", self.outscale is None or 0 < self.outscale <= 16),
            "suffix": ("a part of a file name", not {"/", "\0"} & {*self.suffix}),
        }
        require(self, rules)

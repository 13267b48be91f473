"""Interpolate the weights of two networks of one architecture: (1 - alpha) A + alpha B.

Between a network trained on PSNR and one fine-tuned with a GAN, alpha trades fidelity for texture (network
interpolation, ESRGAN, Wang et al. 2018, Section 3.4). A and B are run folders, checkpoint folders, .pth or .safetensors
files.

Examples:
realsr interpolate runs/realesrnet runs/realesrgan --alpha 0.8 --out soft.safetensors
realsr upscale images large --checkpoint soft.safetensors
"""

import io
import sys
from dataclasses import dataclass
from pathlib import Path

from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.errors import RunError, UsageError, require, run_command

SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class InterpolateSettings:
    """What `train.interpolate` can be asked for."""

    a: str = argument("weights at alpha 0: run folder, checkpoint folder, .pth or .safetensors file")
    b: str = argument("weights at alpha 1")
    alpha: float = option(0.5, "share of B, from 0 to 1")
    out: str = option("interpolated.safetensors", "the file to write: .safetensors, or .pth in official keys")

    def __post_init__(self) -> None:
        """Raises `UsageError` for a share that is none, files that are not there, or a file of another kind."""
        require(self, {"alpha": ("from 0 to 1", 0 <= self.alpha <= 1)})
        if Path(self.out).suffix not in SUFFIXES:
            raise UsageError(f"out is {self.out}: it must end in {' or '.join(SUFFIXES)}")
        for path in (self.a, self.b):
            if not Path(path).exists():
                raise UsageError(f"no weights file {path}: name a run, a checkpoint folder or a file")


def main(argv: list[str]) -> int:
    """The command; see `InterpolateSettings`. Returns the exit code."""
    settings = parse(InterpolateSettings, argv, spelling("interpolate"), __doc__ or "")
    interpolate(Path(settings.a), Path(settings.b), settings.alpha, Path(settings.out))
    print(f"{settings.out}: {1 - settings.alpha:g} of {settings.a} and {settings.alpha:g} of {settings.b}")
    print(next_step("upscale", "photos", "large", "--checkpoint", settings.out))
    return 0


def interpolate(a: Path, b: Path, alpha: float, out: Path) -> None:
    """Write (1 - alpha) a + alpha b to `out`, a .safetensors or a .pth file; whole numbers are those of a.

    Raises `RunError` when the two do not hold weights of the same names and shapes.
    """
    import torch  # here, because the command answers wrong usage before PyTorch is imported
    from safetensors.torch import save

    from shared.storage.atomic import write_bytes
    from train.networks.weights import load_weights, read_spec
    from train.record.checkpoint import weights_file

    files = [weights_file(path) for path in (a, b)]
    first, second = map(load_weights, files)
    for key in sorted(first.keys() | second.keys()):
        shapes = [tuple(one[key].shape) if key in one else None for one in (first, second)]
        if shapes[0] != shapes[1]:
            raise RunError(f"{a} and {b} are not of one network: {key!r} is {shapes[0]} and {shapes[1]}")
    mixed = {
        key: torch.lerp(value, second[key], alpha).contiguous() if value.is_floating_point() else value.contiguous()
        for key, value in first.items()
    }
    if out.suffix == ".pth":
        buffer = io.BytesIO()
        torch.save({"params": mixed}, buffer)
        write_bytes(out, buffer.getvalue())
        return
    spec = read_spec(files[0]) or read_spec(files[1])
    write_bytes(out, save(mixed, spec.metadata() if spec else {}))


if __name__ == "__main__":
    sys.exit(run_command(main))

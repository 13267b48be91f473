"""Upscale images with a trained network.

INPUT and OUTPUT are two files, or two folders; folders are searched recursively and keep their structure. Large images
run in tiles. Grey stays grey, 16 bits stay 16 bits, colour profiles are kept, transparency is upscaled beside the
colours. Outputs are PNG unless --format or the name of OUTPUT says otherwise; those that are there already are skipped.

Examples:
realsr upscale photo.jpg large.png --checkpoint runs/default
realsr upscale images large --checkpoint weights/RealESRGAN_x4plus.pth --suffix _x4 --format webp
"""

import sys
from importlib import import_module
from pathlib import Path

from shared.command import spelling
from shared.config import parse
from shared.errors import UsageError, run_command
from shared.photos.files import SUFFIXES, list_images
from shared.text import some_of
from train.evaluation.settings import FORMATS, UpscaleSettings


def main(argv: list[str]) -> int:
    """The command; see `UpscaleSettings`. Returns the exit code."""
    settings = parse(UpscaleSettings, argv, spelling("upscale"), __doc__ or "")
    pairs = find_pairs(Path(settings.input), Path(settings.output), f"{settings.suffix}.{settings.format}")
    return import_module("train.evaluation.upscale_images").upscale_images(settings, pairs)


def find_pairs(source: Path, target: Path, ending: str = ".png") -> list[tuple[Path, Path]]:
    """Inputs and where their outputs go. ending: of outputs in a folder. Raises `UsageError` when that is not clear."""
    if source.is_file():
        target = target / f"{source.stem}{ending}" if target.is_dir() else target
        if target.suffix.lower() not in FORMATS:
            raise UsageError(
                f"output is {str(target)!r}: it must be a file ({', '.join(FORMATS)}), or a folder that is there"
            )
        return [(source, target)]
    if not source.is_dir():
        raise UsageError(f"input is {str(source)!r}: no such file or folder")
    if target.is_file() or target.resolve() == source.resolve():
        raise UsageError(f"output is {str(target)!r}: it must be a folder, and not the input")
    pairs: dict[Path, Path] = {}
    listing = list_images(source)
    for path in listing.files:
        if target.resolve() in path.resolve().parents:  # an output of ours
            continue
        goes_to = target / path.relative_to(source).with_name(f"{path.stem}{ending}")
        if goes_to in pairs:
            raise UsageError(f"{pairs[goes_to]} and {path.name} would both become {goes_to}: rename one of them")
        pairs[goes_to] = path
    for reason, ids in sorted(listing.passed.items()):
        print(f"skipped as {reason}: {some_of(ids)}")
    if not pairs:
        raise UsageError(f"{source} holds no images ({', '.join(sorted(SUFFIXES))})")
    return [(path, goes_to) for goes_to, path in pairs.items()]


if __name__ == "__main__":
    sys.exit(run_command(main))

"""The image files of a folder, wherever they lie below it, and all that is passed over on the way."""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
"""Endings of the files that are read, in any case."""
OTHER_SUFFIXES = {
    *(".apng", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".j2k"),
    *(".jfif", ".jp2", ".jpe", ".jpf", ".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pbm", ".pcx", ".pgm", ".pnm", ".ppm"),
    *(".psd", ".raf", ".raw", ".rw2", ".svg", ".tga"),
}
"""Endings of images that are not read; they are named, so that nobody misses them."""
OTHER_KIND = "of another kind"
COMPRESSED = re.compile(r"\.(tgz|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)
COMPRESSED_KIND = "compressed archives, which cannot be read by offset"
UNREADABLE = "unreadable"


@dataclass
class Listing:
    """files, tars: in the order of their paths. passed: what was passed over below the folder, ids by reason."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    tars: list[Path] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def pass_over(self, path: Path | str, reason: str) -> None:
        """Note that a path is passed over."""
        self.passed[reason].append(image_id(Path(path), self.folder))


def image_id(path: Path, folder: Path) -> str:
    """The id of an image: its path below the folder; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def list_images(folder: Path) -> Listing:
    """The image files below a folder. Linked folders are followed, after the others; each folder is read once.

    Hidden files and folders, files of other kinds, broken links and folders that cannot be read are passed over.
    """
    listing, seen = Listing(folder), set[tuple[int, int]]()
    links, folders = list[Path](), [folder]
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        try:
            status = current.stat()
            if (identity := (status.st_dev, status.st_ino)) in seen:
                listing.pass_over(current, "linked folders that were read already")
                continue
            seen.add(identity)
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:
            listing.pass_over(current, "unreadable folders")
            continue
        for entry in entries:
            if _is(entry.is_dir):
                if entry.name.startswith("."):
                    listing.pass_over(entry.path, "hidden")
                else:
                    (links if entry.is_symlink() else folders).append(Path(entry.path))
            else:
                _sort_file(entry, listing)
    listing.files.sort()
    listing.tars.sort()
    return listing


def _is(test: Callable[[], bool]) -> bool:
    """The answer of a test of an entry; False where the entry cannot be looked at."""
    try:
        return test()
    except OSError:
        return False


def _sort_file(entry: os.DirEntry, listing: Listing) -> None:
    suffix = Path(entry.name).suffix.lower()
    if suffix in OTHER_SUFFIXES:
        listing.pass_over(entry.path, OTHER_KIND)
    elif COMPRESSED.search(entry.name):
        listing.pass_over(entry.path, COMPRESSED_KIND)
    elif suffix == ".tar":
        if not entry.name.startswith(".") and _is(entry.is_file):
            listing.tars.append(Path(entry.path))
    elif suffix in SUFFIXES:
        if entry.name.startswith("."):
            listing.pass_over(entry.path, "hidden")
        elif _is(entry.is_file):
            listing.files.append(Path(entry.path))
        else:
            listing.pass_over(entry.path, UNREADABLE)

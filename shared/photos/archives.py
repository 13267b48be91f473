"""HR images where they lie: files below a folder, members of tar files, and both behind a url.

The members of a tar are listed once (name, offset, size, SHA-256) and then read by their offset. The list is kept
beside the photo cache, under the size and the time of the tar. Nothing is unpacked.
"""

import hashlib
import itertools
import json
import tarfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from glob import has_magic
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ..errors import RunError, UsageError
from ..records import canonical_json
from ..storage.places import Place, address, info, place
from ..storage.remote import Remote
from .files import COMPRESSED, COMPRESSED_KIND, OTHER_KIND, OTHER_SUFFIXES, SUFFIXES, image_id, list_images
from .licences import NOT_GIVEN, Terms
from .photo_cache import read_file, record, recorded

LISTS = "listed"
"""Folder of the lists of tars, below that of the photo cache."""
LIST_VERSION = 2
MAX_MEMBER_BYTES = 12 * 150_000_000
"""Larger members are passed over unread, as `examine` passes over files."""
MAX_LINE = 2000
"""Characters of a licence, an address or a caption that are kept."""
MAX_TEXT_BYTES = 1 << 20
"""Larger records beside an image are passed over."""


UNKNOWN_TERMS = Terms()


@dataclass(frozen=True)
class ImageFile:
    """An image file, or a member of a tar.

    id: its path below the HR folder; that of a member begins with the path of the tar. path: of the file or the tar, a
    path or a url. offset, size: of a member in bytes; size 0 means the whole file. sha256: of its bytes, if known.
    terms, caption: what the tar says of the licence and of what the image shows.
    """

    id: str
    path: str
    offset: int = 0
    size: int = 0
    sha256: str = ""
    terms: Terms = UNKNOWN_TERMS
    caption: str = ""

    def read(self) -> bytes:
        """Its bytes. Raises OSError."""
        return read_file(self.path, self.offset, self.size)


@dataclass
class HRFiles:
    """files: in the order of their paths. passed: what was passed over, ids by reason."""

    files: list[ImageFile] = field(default_factory=list)
    passed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add_tars(self, tars: Sequence[tuple[Place, str]]) -> None:
        """Add the images in some tars and their ids, several tars at a time."""
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")  # Pillow speaks through them; all threads share the filter
            lists = list(pool.map(lambda tar: _whole_list(tar[0]), tars))
        for (_, name), members in zip(tars, lists, strict=True):
            if members is None:
                self.passed["tar files that cannot be read to the end"].append(name)
            else:
                self.files += [replace(member, id=f"{name}/{member.id}") for member in members]


def list_hr_files(hr: str, key: str) -> HRFiles:
    """The image files and the members of tars that `hr` names: a folder, a glob pattern, or a url of either.

    key: the setting, for the `UsageError` when there is no such folder and nothing that matches.
    """
    where = place(hr)
    if isinstance(where, Remote):
        if names := where.files_below():
            return _from_names(names)
        raise UsageError(f"{key} is {str(where)!r}: there is no file")
    if where.is_dir():
        return _in_folder(where)
    if has_magic(hr):
        root = Path(*itertools.takewhile(lambda part: not has_magic(part), Path(hr).parts[:-1]))
        if matches := sorted(root.glob(str(Path(hr).relative_to(root)))):
            return _from_names([(path, image_id(path, root)) for path in matches if path.is_file()])
        raise UsageError(f"{key} is {hr!r}: no file matches the pattern")
    if where.suffix == ".tar" and where.is_file():
        return _from_names([(where, where.name)])
    if where.is_file():
        raise UsageError(f"{key} is {hr!r}: this is a single file, name its folder")
    raise UsageError(f"{key} is {hr!r}: no such folder, tar or pattern")


def _in_folder(folder: Path) -> HRFiles:
    listing = list_images(folder)
    found = HRFiles(passed=listing.passed)
    found.files = [ImageFile(image_id(path, folder), str(path)) for path in listing.files]
    found.add_tars([(tar, image_id(tar, folder)) for tar in listing.tars])
    return found


def _from_names(names: Sequence[tuple[Place, str]]) -> HRFiles:
    """What is in files that were found by a pattern or behind a url."""
    found, tars = HRFiles(), []
    for file, name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if any(part.startswith(".") for part in name.split("/")):
            found.passed["hidden"].append(name)
        elif suffix in SUFFIXES:
            found.files.append(ImageFile(name, address(file)))
        elif suffix == ".tar":
            tars.append((file, name))
        elif suffix in OTHER_SUFFIXES or COMPRESSED.search(name):
            found.passed[COMPRESSED_KIND if COMPRESSED.search(name) else OTHER_KIND].append(name)
    found.add_tars(tars)
    return found


def _whole_list(tar: Place) -> list[ImageFile] | None:
    """The images in a tar, or None for one that is cut or damaged. Raises `RunError` when a store does not give it."""
    try:
        return list_tar(tar)
    except (tarfile.TarError, EOFError, ValueError, ArithmeticError):
        return None
    except Exception as error:  # stores raise what they like while a file is read
        if isinstance(tar, Remote):
            raise RunError(f"{tar} cannot be read: {error or type(error).__name__}; run the command again") from error
        if isinstance(error, OSError):
            return None
        raise


def list_tar(tar: Place) -> list[ImageFile]:
    """The images in a tar, in its order; ids are the names of the members. Kept, so that it is read once.

    Raises OSError and what tarfile raises for a tar that is cut or damaged.
    """
    found = info(tar)
    where = address(tar if isinstance(tar, Remote) else tar.resolve())
    identity = [where, found.size, found.time, found.etag, LIST_VERSION]
    name = hashlib.sha256(canonical_json(identity)).hexdigest()
    with suppress(TypeError, KeyError):
        entries = recorded(LISTS, name)
        return [ImageFile(**{**entry, "path": address(tar), "terms": Terms(**entry["terms"])}) for entry in entries]
    with tar.open("rb") as file:
        members = list(_members(file, address(tar)))
    record(LISTS, name, [{**asdict(member), "path": ""} for member in members])
    return members


def _members(file: BinaryIO, path: str) -> Iterator[ImageFile]:
    """One pass over a tar: each image is hashed and examined; the other members of its sample say more of it.

    Those are the files of img2dataset: a record (.json) and a caption (.txt).
    """
    from .examine import examine

    images: dict[str, ImageFile] = {}
    terms, captions = dict[str, Terms](), dict[str, str]()
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if not member.isreg() or name.is_absolute() or ".." in name.parts or name.name.startswith("."):
                continue
            suffix, sample = name.suffix.lower(), str(name.with_suffix(""))
            if suffix in SUFFIXES and 0 < member.size <= MAX_MEMBER_BYTES:
                data = _content(archive, member)
                digest = hashlib.sha256(data).hexdigest()
                examine(data, digest, name.name)
                images[str(name)] = ImageFile(str(name), path, member.offset_data, member.size, digest)
            elif suffix == ".json" and member.size <= MAX_TEXT_BYTES:
                terms[sample], caption = _record(_content(archive, member))
                captions.setdefault(sample, caption)
            elif suffix == ".txt" and member.size <= MAX_TEXT_BYTES:
                captions[sample] = _line(_content(archive, member).decode("utf-8", "replace"))
    for image in images.values():
        sample = str(PurePosixPath(image.id).with_suffix(""))
        yield replace(image, terms=terms.get(sample, UNKNOWN_TERMS), caption=captions.get(sample, ""))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    data = content.read() if content else b""
    if len(data) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _record(data: bytes) -> tuple[Terms, str]:
    """Licence and address of an image, and its caption, from the record that img2dataset writes beside it."""
    try:
        values: Any = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return UNKNOWN_TERMS, ""

    def text(*keys: str) -> str:
        return _line(next((values[key] for key in keys if isinstance(values.get(key), str)), ""))

    return Terms(text("licence", "license") or NOT_GIVEN, text("attribution", "author"), text("url")), text("caption")


def _line(text: str) -> str:
    """One line of bounded length."""
    return " ".join(text.split())[:MAX_LINE]

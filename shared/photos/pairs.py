"""Pairs of HR and LR images that were made elsewhere: in two folders, in the samples of tars, or in two LMDBs."""

import re
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path, PurePosixPath

from ..errors import RunError, UsageError
from ..storage.places import Place, address, place
from ..storage.remote import Remote
from ..text import counted, some_of, without_password
from .archives import ImageFile, list_hr_files, list_tar
from .files import COMPRESSED, image_id
from .find import HRImage, HRImageSet, Selection, candidates, examined_image, side
from .split import PAIR_MARK
from .staged import PIPE, staged_lmdb, staged_tar

LMDB = ".lmdb"
TAR = re.compile(rf"\.tar$|{COMPRESSED.pattern}", re.IGNORECASE)
SAMPLE = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)")
"""A sample of webdataset: key and extension, parted at the first dot of the file's name."""


@dataclass(frozen=True)
class Pairing:
    """How pairs are found and cut. hr, lr: names of members, folders, patterns or LMDBs in each source.

    scale: HR side / LR side. whole: all pairs belong to the split, none is held out for the other. on_grid: crops lie
    on a grid instead of at random places.
    """

    hr: str
    lr: str
    scale: int
    whole: bool = False
    on_grid: bool = False


def find_pairs(sources: Sequence[str], split: str, pairing: Pairing, selection: Selection) -> HRImageSet:
    """The usable pairs of a split, as HR images that know their LR image.

    A pair is passed over, named and counted where either image is missing or cannot serve, or HR is not exactly `scale`
    times LR. In a grid an image's weight is the number of its cells. Raises `UsageError` for sources that are not
    there, `RunError` when no pair is usable.
    """
    pairs, passed = list_pairs(sources, pairing.hr, pairing.lr)
    selection.sources.check(hr.id for hr, _ in pairs)
    lr_of = {hr.id: lr for hr, lr in pairs}
    found = candidates([hr for hr, _ in pairs], lambda hr: _examined(hr, lr_of[hr.id], pairing, selection), passed, {})
    kept = found.image_set(found.photographs if pairing.whole else side(found, split))
    if not kept.photographs:
        num_found = len(found.photographs)
        held_out = [f"{counted(num_found, 'pair')} of the other split (--whole takes all)"] if num_found else []
        told = "; ".join([*kept.notes, *held_out]) or "no pair"
        raise RunError(f"no usable pair in {_named(sources)} for this split: {told}")
    return kept


def _examined(hr: ImageFile, lr: ImageFile, pairing: Pairing, selection: Selection) -> tuple[HRImage | str, str]:
    """The HR image of a pair with its LR image and the hash of its pixels, or why the pair is passed over."""
    high, pixels = examined_image(hr, selection)
    if isinstance(high, str):
        return f"HR {high}", ""
    low, _ = examined_image(lr, Selection(selection.patch // pairing.scale))
    if isinstance(low, str):
        return f"LR {low}", ""
    if (high.height, high.width) != (low.height * pairing.scale, low.width * pairing.scale):
        return f"HR not exactly {pairing.scale} times LR", ""
    cells = (high.height // selection.patch) * (high.width // selection.patch)
    return replace(high, lr=replace(lr, sha256=low.sha256), weight=cells if pairing.on_grid else high.weight), pixels


# ---- where they lie


def list_pairs(
    sources: Sequence[str], hr: str, lr: str
) -> tuple[list[tuple[ImageFile, ImageFile]], dict[str, list[str]]]:
    """HR and LR of each pair in the order of the sources, and the images without a partner, by reason."""
    tars, folders = list[str](), list[Place]()
    for source in sources:
        names = [source] if source.startswith(PIPE) else _expanded(source)
        for name in names:
            if name.startswith(PIPE) or TAR.search(name):
                tars.append(name)
            elif _holds_folders(folder := place(name), hr):
                folders.append(folder)
            else:
                tars += _tars_below(folder, hr)
    files = [(_in(folder, hr, "hr"), _in(folder, lr, "lr")) for folder in folders]
    found = [_by_name(high, low) for high, low in files]
    found += [_by_sample(list_one(tar, label), hr, lr) for tar, label in zip(tars, _labels(tars), strict=True)]
    pairs = [pair for some, _ in found for pair in some]
    passed: dict[str, list[str]] = {}
    for _, alone in found:
        for reason, ids in alone.items():
            passed.setdefault(reason, []).extend(ids)
    if twice := [name for name, count in Counter(high.id for high, _ in pairs).items() if count > 1]:
        raise UsageError(f"two pairs are called {twice[0]!r}: adopt these sources one by one, under two names")
    return pairs, {reason: ids for reason, ids in passed.items() if ids}


def _named(sources: Sequence[str]) -> str:
    return some_of([without_password(source) for source in sources])


def _expanded(source: str) -> list[str]:
    """Braces and patterns of local files written out: shards-{000..009}.tar, shards-*.tar."""
    from braceexpand import braceexpand

    found: list[str] = []
    try:
        names = list(braceexpand(source))
    except ValueError:  # a name with a single brace
        names = [source]
    for name in names:
        where = place(name)
        if isinstance(where, Remote) or not has_magic(name):
            found.append(name)
        elif not (matches := sorted(Path(where.anchor or ".").glob(str(where.relative_to(where.anchor))))):
            raise UsageError(f"source is {name!r}: no file matches the pattern")
        else:
            found += map(str, matches)
    return found


def _holds_folders(folder: Place, hr: str) -> bool:
    """Whether HR images lie in a folder, a pattern or an LMDB of that name below `folder`."""
    if not isinstance(folder, Remote) and not folder.is_dir():
        raise UsageError(f"source is {str(folder)!r}: no such folder, tar or pattern")
    return hr.endswith(LMDB) or has_magic(hr) or (folder / hr).is_dir()


def _tars_below(folder: Place, hr: str) -> list[str]:
    if isinstance(folder, Remote):
        found = [(address(file), name) for file, name in folder.files_below()]
    else:
        found = [(str(file), image_id(file, folder)) for file in sorted(folder.rglob("*")) if file.is_file()]
    tars = [file for file, name in found if TAR.search(name) and not any(p.startswith(".") for p in name.split("/"))]
    if not tars:
        raise UsageError(
            f"source is {without_password(str(folder))!r}: it holds no folder {hr!r} and no tars; --hr and --lr name "
            "two folders below it, or the members of tars"
        )
    return tars


def _in(folder: Place, name: str, key: str) -> list[ImageFile]:
    """The images of a folder, a pattern or an LMDB below `folder`."""
    if not name.endswith(LMDB):
        return list_hr_files(
            str(folder / name) if not isinstance(folder, Remote) else address(folder / name), key
        ).files
    if isinstance(folder, Remote) or not (folder / name).is_dir():
        raise UsageError(f"{key} is {name!r}: no such LMDB in {folder}; one behind a url must be copied first")
    return list_tar(staged_lmdb(folder / name))


def list_one(tar: str, label: str) -> list[ImageFile]:
    """The images in a tar, with `label` before their names. Raises `RunError` for one that is cut or damaged."""
    try:
        where = place(tar) if not tar.startswith(PIPE) and not COMPRESSED.search(tar) else staged_tar(tar)
        return [replace(member, id=f"{label}/{member.id}") for member in list_tar(where)]
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        text = str(error) or type(error).__name__
        raise RunError(f"{without_password(tar)} cannot be read to its end: {text}") from error


def _labels(tars: Sequence[str]) -> list[str]:
    """Short names of tars that differ: the last parts of their paths, as few as will do; of commands their number."""
    parts = [
        (f"pipe-{number}",) if tar.startswith(PIPE) else PurePosixPath(without_password(tar)).parts
        for number, tar in enumerate(tars)
    ]
    longest = max(map(len, parts), default=0)
    for length in range(1, longest + 1):
        labels = ["/".join(each[-length:]) for each in parts]
        if len({*labels}) == len(labels):
            return labels
    return ["/".join(each).lstrip("/") for each in parts]


# ---- which belong together


def _by_sample(members: Sequence[ImageFile], hr: str, lr: str) -> tuple[list[tuple[ImageFile, ImageFile]], dict]:
    """The pairs of a tar: members of one key, whose extensions are `hr` and `lr`."""
    found: dict[str, dict[str, ImageFile]] = {hr: {}, lr: {}}
    for member in members:
        if (parts := SAMPLE.fullmatch(member.id)) and parts[2].lower() in found:
            found[parts[2].lower()][parts[1]] = member
    return _matched(found[hr], found[lr])


def _by_name(high: Sequence[ImageFile], low: Sequence[ImageFile]) -> tuple[list[tuple[ImageFile, ImageFile]], dict]:
    """The pairs of two folders: equal names, or else names that are equal without the marks of HR and LR."""
    stems = [{str(PurePosixPath(file.id).with_suffix("")): file for file in files} for files in (high, low)]
    if stems[0].keys().isdisjoint(stems[1]):
        stems = [_unmarked(files) for files in (high, low)]
    return _matched(*stems)


def _unmarked(files: Sequence[ImageFile]) -> dict[str, ImageFile]:
    found: dict[str, ImageFile] = {}
    for file in files:
        name = PAIR_MARK.sub("", str(PurePosixPath(file.id).with_suffix("")))
        if (other := found.setdefault(name, file)) is not file:
            raise UsageError(f"{file.id} and {other.id} would both be {name!r}: name one of them by a pattern")
    return found


def _matched(
    high: Mapping[str, ImageFile], low: Mapping[str, ImageFile]
) -> tuple[list[tuple[ImageFile, ImageFile]], dict[str, list[str]]]:
    alone = {
        "HR without an LR image": [high[key].id for key in sorted(high.keys() - low.keys())],
        "LR without an HR image": [low[key].id for key in sorted(low.keys() - high.keys())],
    }
    return [(high[key], low[key]) for key in sorted(high.keys() & low.keys())], alone

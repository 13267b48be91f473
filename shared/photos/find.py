"""HR images: where they are found and which split they belong to."""

import hashlib
import itertools
import shlex
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import RunError, UsageError
from ..records import canonical_json
from ..storage.places import info, place
from ..storage.remote import Remote
from ..text import counted, some_of
from .archives import HRFiles, ImageFile, list_hr_files
from .files import UNREADABLE
from .licences import NO_SOURCES, Sources, Terms
from .split import HELD_OUT, held_out_scenes, ignored, is_held_out, scenes

SKIMAGE = "photos"
"""The name of the HR folder that stands for scikit-image's photographs, unless there is a folder of that name."""
COPY_FACTORS = {"0.75": 0.75, "0.5": 0.5, "0.33": 1 / 3}
COPY_SIDE = 400
"""Sizes of multi-scale copies: these factors, and this shortest side (Real-ESRGAN, generate_multiscale_DF2K.py)."""

# Natural colour photographs that scikit-image carries, and their terms. All images of a scene are on one side.
SKIMAGE_PHOTOGRAPHS = {
    "train": {
        "astronaut.png": "public domain (NASA)",
        "motorcycle_left.png": "Middlebury Stereo 2014, cite Scharstein et al. 2014",
        "motorcycle_right.png": "Middlebury Stereo 2014, cite Scharstein et al. 2014",
        "rocket.jpg": "public domain (SpaceX)",
    },
    "val": {"chelsea.png": "CC0-1.0", "coffee.png": "CC0-1.0"},
}


@dataclass(frozen=True)
class HRImage:
    """One HR image, or a reduced copy of one.

    id: its path below the HR folder, with `@<scale>` for a copy. path: of its file, or of the tar that holds it; it may
    be a url. weight: how often it is visited, relative to the others. licence, attribution, url: as given with it.
    reduced: the file is larger and is resized on reading. offset, size: where it lies in a tar, bytes; size 0 means
    that it is a file. caption: what it shows, if its tar says so. lr: the LR image of a pair that was made elsewhere.
    """

    id: str
    path: str
    sha256: str
    height: int
    width: int
    weight: int
    licence: str
    attribution: str = ""
    url: str = ""
    reduced: bool = False
    offset: int = 0
    size: int = 0
    caption: str = ""
    lr: ImageFile | None = None

    @property
    def shown(self) -> tuple[str, str]:
        """Hashes of the files of a pair."""
        return self.sha256, self.lr.sha256 if self.lr else ""

    @property
    def key(self) -> str:
        """Names the pixels: the file's hash, and the size of a reduced copy."""
        return f"{self.sha256}-{self.height}x{self.width}" if self.reduced else self.sha256

    def fit(self, image: np.ndarray) -> np.ndarray:
        """The decoded file at the size of this image, uint8 [height, width, 3]: Lanczos for a reduced copy."""
        if not self.reduced:
            return image
        return np.array(Image.fromarray(image).resize((self.width, self.height), Image.Resampling.LANCZOS))


@dataclass(frozen=True)
class HRImageSet:
    """The HR images of one split.

    skipped: how many files were passed over, by reason. notes: lines to print about what was passed over.
    """

    photographs: tuple[HRImage, ...]
    skipped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def skipped_text(self) -> str:
        """How many files were passed over and why, to stand behind what was found; empty where none was."""
        return "".join(f", skipped {count} {reason}" for reason, count in self.skipped.items())

    def digest(self) -> str:
        """Hash of what enters rows: ids, hashes, sizes, weights, licences; not where the files lie."""
        elsewhere = ("path", "attribution", "url", "offset", "size", "caption", "lr")
        listing = [
            {k: v for k, v in asdict(p).items() if k not in elsewhere} | ({"lr_sha256": p.lr.sha256} if p.lr else {})
            for p in self.photographs
        ]
        return hashlib.sha256(canonical_json(listing)).hexdigest()

    def captions(self) -> dict[str, str]:
        """What images show, by id, where it is known."""
        return {p.id: p.caption for p in self.photographs if p.caption}

    def attributions(self) -> list[dict[str, Any]]:
        """Whom to name: attribution, url, licence and photographs (ids), where one of the first two was given."""
        named: dict[tuple[str, str, str], list[str]] = {}
        for p in self.photographs:
            if p.attribution or p.url:
                named.setdefault((p.attribution, p.url, p.licence), []).append(p.id)
        return [{"attribution": a, "url": u, "licence": t, "photographs": ids} for (a, u, t), ids in named.items()]


@dataclass(frozen=True)
class Selection:
    """Which images are used. min_side: least side, pixels (None: the patch). multiscale: add reduced copies."""

    patch: int
    min_side: int | None = None
    multiscale: bool = False
    sources: Sources = NO_SOURCES

    def __post_init__(self) -> None:
        """Raises `UsageError` for a least side that holds no patch."""
        if self.min_side is not None and self.min_side < self.patch:
            raise UsageError(f"min_side is {self.min_side}: it must be at least the patch, {self.patch}")

    @property
    def least(self) -> int:
        """The least side, pixels."""
        return self.min_side or self.patch

    @property
    def too_small(self) -> str:
        """The reason why a smaller image is passed over."""
        return f"smaller than {self.min_side} pixels" if self.min_side else "smaller than the patch"


def find_hr_images(
    hr: str,
    split: str,
    patch: int,
    val_hr: str | None = None,
    *,
    min_side: int | None = None,
    multiscale: bool = False,
    sources: Sources = NO_SOURCES,
    held_out: Collection[str] = (),
) -> HRImageSet:
    """The usable HR images of a split.

    hr: a folder, searched recursively, a glob pattern of images or tars, or the url of either; or `photos` for those
    that scikit-image carries. Files are ignored by the words of their path (`split.ignored`). Without `val_hr`, val is
    one scene in 20, chosen by its hash (at least one).
    held_out: hashes of files whose scenes never enter train, besides.
    Raises `UsageError` for a folder that is not there and for sources that do not fit the images, `RunError` when no
    image is usable.
    """
    selection = Selection(patch, min_side, multiscale, sources)
    if is_skimage(hr) and (split == "train" or val_hr is None):
        return _skimage_photographs(split, selection)
    listed, val_listed = _list(hr, "hr"), _list(val_hr, "val_hr")
    sources.check(file.id for both in (listed, val_listed) if both for file in both.files)
    val = _scan(val_listed, selection, held_out=True) if val_listed else None
    if val and split == "val":
        return _require(val.image_set(val.photographs), str(val_hr), val)
    assert listed
    found, hints = _scan(listed, selection, held_out=False), []
    if hr == SKIMAGE:
        hints.append(f"the images are those of the folder {hr}; scikit-image's are used where there is no such folder")
    if val is None and (unused := _validation_folder(hr, found)):
        hints.append(f"{unused} is used in neither split: add --val-hr {shlex.quote(unused)} to validate on it")
    found = replace(found, hints=tuple(hints))
    return _require(found.image_set(side(found, split, val, held_out)), hr, found, val is not None)


def is_skimage(hr: str) -> bool:
    """Whether an HR folder by this name means the photographs of scikit-image."""
    return hr == SKIMAGE and not Path(hr).is_dir()


def _list(name: str | None, key: str) -> HRFiles | None:
    return None if name is None or is_skimage(name) else list_hr_files(name, key)


@dataclass(frozen=True)
class Candidates:
    """What a folder holds for both splits.

    pixels: hash of the decoded pixels by hash of the file.
    skipped: ids of files that cannot serve, by reason. ignored: ids of files ignored by name, by reason.
    hints: what else to tell.
    """

    photographs: tuple[HRImage, ...]
    pixels: Mapping[str, str]
    skipped: Mapping[str, Sequence[str]]
    ignored: Mapping[str, Sequence[str]]
    hints: tuple[str, ...] = ()

    def image_set(self, photographs: Iterable[HRImage]) -> HRImageSet:
        """Some of the images, with what to tell of the others."""
        notes = [
            f"{verb} as {reason}: {some_of(ids)}"
            for verb, passed in (("ignored", self.ignored), ("skipped", self.skipped))
            for reason, ids in sorted(passed.items())
        ]
        counts = {reason: len(ids) for reason, ids in sorted(self.skipped.items())}
        return HRImageSet(tuple(photographs), counts, (*notes, *self.hints))


def _validation_folder(hr: str, found: Candidates) -> str | None:
    """The folder below `hr` that is for validation by its name; of several, the one with most of the ignored images."""
    counts = Counter[str]()
    for image_id in found.ignored.get(HELD_OUT, ()):
        *folders, _ = image_id.split("/")
        depth = next(depth for depth, folder in enumerate(folders, 1) if is_held_out(folder))
        counts["/".join(folders[:depth])] += 1
    ranked = sorted(counts, key=lambda folder: ("val" not in folder.lower(), -counts[folder], folder))
    paths = [str(Path(hr) / folder) for folder in ranked]
    return next((path for path in paths if Path(path).is_dir()), None)


def side(
    found: Candidates, split: str, val: Candidates | None = None, held_out: Collection[str] = ()
) -> Iterator[HRImage]:
    """The images of one split. val: those of a validation folder, if there is one. held_out: as of `find_hr_images`."""
    scene_of = scenes({p.id: p.sha256 for p in found.photographs if not p.reduced}, found.pixels)
    if val is None:
        apart = held_out_scenes(set(scene_of.values()))
    else:
        shown = {p.sha256 for p in val.photographs} | set(val.pixels.values())
        apart = {scene for digest, scene in scene_of.items() if not shown.isdisjoint((digest, found.pixels[digest]))}
    apart |= {scene_of[digest] for digest in held_out if digest in scene_of}
    return (p for p in found.photographs if (scene_of[p.sha256] in apart) == (split == "val"))


def _require(photos: HRImageSet, source: str, found: Candidates, has_val: bool = False) -> HRImageSet:
    if photos.photographs:
        return photos
    passed = {**found.skipped, **{f"ignored as {reason}": ids for reason, ids in found.ignored.items()}}
    reasons = [f"{len(ids)} {reason} ({some_of(ids)})" for reason, ids in sorted(passed.items())]
    if found.photographs:
        shown = some_of([p.id for p in found.photographs])
        what = "shows one scene, which is there" if len(found.photographs) > 1 else "is the only one and is there"
        what = "belongs to scenes of --val-hr" if has_val else what
        reasons.append(f"{counted(len(found.photographs), 'image')} held out for validation: {shown} {what}")
    raise RunError(
        f"no usable HR image in {source} for this split ({'; '.join(reasons) or 'no image files'}): give a folder with "
        "more or larger images, a smaller --patch, or --val-hr"
    )


def _skimage_photographs(split: str, selection: Selection) -> HRImageSet:
    import skimage.data

    if selection.sources:
        raise UsageError("--licence and --sources are for a folder of images: those of scikit-image have their own")
    folder, licences = Path(skimage.data.__file__).parent, SKIMAGE_PHOTOGRAPHS[split]
    own = Sources(tuple((name, Terms(licence)) for name, licence in licences.items()))
    files = [ImageFile(name, str(folder / name)) for name in licences]
    found = _load(files, replace(selection, sources=own), {}, {})
    return _require(found.image_set(replace(p, weight=1) for p in found.photographs), "scikit-image", found)


def _scan(listing: HRFiles, selection: Selection, held_out: bool) -> Candidates:
    passed = {reason: list(ids) for reason, ids in listing.passed.items()}
    by_name = defaultdict[str, list[str]](list)
    if hidden := passed.pop("hidden", None):
        by_name["hidden"] = hidden
    files, stems = [], {Path(file.id).stem for file in listing.files}
    for file in listing.files:
        if reason := ignored(file.id, stems, held_out):
            by_name[reason].append(file.id)
        else:
            files.append(file)
    return _load(files, selection, passed, by_name)


def _load(
    files: Sequence[ImageFile],
    selection: Selection,
    passed: Mapping[str, Sequence[str]],
    by_name: Mapping[str, Sequence[str]],
) -> Candidates:
    """The images in files, with their reduced copies. passed, by_name: what has been passed over already."""
    found = candidates(files, lambda file: examined_image(file, selection), passed, by_name)
    if not selection.multiscale:
        return found
    copies = ((image, *reduced_copies(image, selection.least)) for image in found.photographs)
    return replace(found, photographs=tuple(itertools.chain.from_iterable(copies)))


def candidates(
    files: Sequence[ImageFile],
    examine: Callable[[ImageFile], tuple[HRImage | str, str]],
    passed: Mapping[str, Sequence[str]],
    by_name: Mapping[str, Sequence[str]],
) -> Candidates:
    """Examine every file once, so that a file that cannot serve is known before any row is drawn from it.

    examine: gives what `examined_image` gives. passed, by_name: what has been passed over already, ids by reason.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # Pillow speaks through them; all threads share the filter
        results = list(pool.map(examine, files))
    skipped = defaultdict(list, {reason: list(ids) for reason, ids in passed.items()})
    found, pixels = dict[tuple[str, str], HRImage](), dict[str, str]()
    for file, (result, its_pixels) in zip(files, results, strict=True):
        if isinstance(result, str):
            skipped[result].append(file.id)
        elif result.shown in found:
            skipped["duplicate"].append(file.id)
        else:
            found[result.shown] = result
            pixels[result.sha256] = its_pixels
    return Candidates(tuple(found.values()), pixels, skipped, by_name)


def examined_image(file: ImageFile, selection: Selection) -> tuple[HRImage | str, str]:
    """The image in a file and the hash of its pixels, or the reason why it is passed over."""
    from .examine import MAX_FILE_BYTES, examine, examined  # here, so that commands answer before OpenCV is loaded

    digest, finding = file.sha256, examined(file.sha256) if file.sha256 else None
    if finding is None:
        try:
            size = file.size or info(place(file.path)).size
            if not size or size > MAX_FILE_BYTES:
                return f"larger than {MAX_FILE_BYTES / 1e9:.1f} GB" if size else "empty", ""
            data = file.read()
        except (OSError, MemoryError) as error:
            if isinstance(place(file.path), Remote):  # the list of images must not depend on the network
                raise RunError(f"{file.path} cannot be read: {error}; run the command again") from error
            return UNREADABLE, ""
        digest = hashlib.sha256(data).hexdigest()
        finding = examine(data, digest, file.id.rpartition("/")[2])
    if finding.fault or finding.transparent:
        return finding.fault or "transparent", ""
    if min(finding.height, finding.width) < selection.least:
        return selection.too_small, ""
    terms = selection.sources.terms(file.id, file.terms)
    return listed_image(file, digest, finding.height, finding.width, terms), finding.pixels


def listed_image(file: ImageFile, sha256: str, height: int, width: int, terms: Terms) -> HRImage:
    """The HR image in a file, visited in proportion to its area."""
    return HRImage(
        id=file.id,
        path=file.path,
        sha256=sha256,
        height=height,
        width=width,
        weight=height * width,
        licence=terms.licence,
        attribution=terms.attribution,
        url=terms.url,
        offset=file.offset,
        size=file.size,
        caption=file.caption,
    )


def reduced_copies(photograph: HRImage, min_side: int) -> Iterator[HRImage]:
    """The smaller copies that Real-ESRGAN's data preparation adds to an image, without those that are too small."""
    height, width = photograph.height, photograph.width
    sizes = {name: (int(height * factor), int(width * factor)) for name, factor in COPY_FACTORS.items()}
    short = min(height, width)
    sizes[str(COPY_SIDE)] = (int(COPY_SIDE * (height / short)), int(COPY_SIDE * (width / short)))
    for name, (h, w) in sizes.items():
        if min_side <= min(h, w) < short:
            yield replace(photograph, id=f"{photograph.id}@{name}", height=h, width=w, weight=h * w, reduced=True)

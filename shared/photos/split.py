"""Which image files are HR, which never enter training, and which show one scene: by their names and their pixels."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

VAL_SHARE = 20
"""One scene in this many is held out for validation, chosen by its hash."""
LOW_RESOLUTION, HELD_OUT = "low resolution by name", "validation or test by name"
"""Why a file is ignored."""
LOW_WORDS = {"lr", "lq"}
LOW_FOLDER_WORDS = {*LOW_WORDS, "low", "lowres"}
HELD_OUT_WORDS = {
    *("val", "valid", "validation", "eval", "evaluation", "dev"),
    *("test", "tests", "testing", "testset", "testsets"),
}
WORD = re.compile(r"(?<![A-Z])(?:HR|GT|LR|LQ)(?![A-Z])|(?<=\d)K|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]")
"""Words of a name: letters of one case or capitalised, and numbers: `DIV2K_validHR` is DIV, 2, K, valid, HR."""
SCALE = re.compile(r"(?:(?<=\d\d)[xX]|(?<=[a-z])X|(?<=[\W_])[xX])[2-4](?![0-9A-Za-z])")
"""`x2` to `x4` after a word: `0801x4`, `imageX2`, `bicubic_x3`; not in `phoenix2`, and not in `4x4`."""
PAIR_MARK = re.compile(r"(_(HR|LR)\d?|_?x\d)$")
"""What names end in that say which image of a pair it is: Canon_001_LR4, panasonic_12_x1, 0801x4."""
COPY_OF = re.compile(r"(.+)[xX][2-4]")
COPY_SUFFIX = re.compile(r"(.+?)(?:_s\d{3,}|T\d)")
"""What BasicSR adds to the name of a tile (`_s001`) and Real-ESRGAN to that of a multi-scale copy (`T0`)."""


def words(name: str) -> list[str]:
    """The words of a name, lowercase."""
    return [word.lower() for word in WORD.findall(name)]


def is_held_out(folder: str) -> bool:
    """Whether a folder is for validation or testing by its name."""
    return not HELD_OUT_WORDS.isdisjoint(words(folder))


def ignored(image_id: str, stems: Collection[str], held_out: bool) -> str | None:
    """Why an image file is ignored, or None.

    image_id: its path below the HR folder. stems: names of all image files there, without ending. held_out: whether
    the folder is given for validation; then names of validation and test folders mean nothing.
    """
    *folders, name = image_id.split("/")
    stem = name.rpartition(".")[0]
    for folder in folders:
        if LOW_FOLDER_WORDS.intersection(words(folder)) or SCALE.search(folder) or re.fullmatch("[xX][2-4]", folder):
            return LOW_RESOLUTION
    copied = COPY_OF.fullmatch(stem)
    if LOW_WORDS.intersection(words(stem)) or words(stem)[-1:] == ["low"] or SCALE.search(stem, 1):
        return LOW_RESOLUTION
    if copied and copied[1] in stems:
        return LOW_RESOLUTION
    if not held_out and any(map(is_held_out, folders)):
        return HELD_OUT
    return None


def scenes(images: Mapping[str, str], pixels: Mapping[str, str]) -> dict[str, str]:
    """The scene of each image: the smallest hash of those that show it.

    images: hash by id. pixels: hash of the decoded pixels by hash. Copies belong to the scene of their original: equal
    pixels in other bytes, tiles and multi-scale copies by their names.
    """
    parents = {digest: digest for digest in images.values()}

    def root(digest: str) -> str:
        while parents[digest] != digest:
            parents[digest] = digest = parents[parents[digest]]
        return digest

    def join(digests: Iterable[str]) -> None:
        first, *others = map(root, digests)
        for other in others:
            first, other = sorted((first, root(other)))
            parents[other] = first

    for group in _copies_by_name(images):
        join(group)
    by_pixels = defaultdict(list)
    for digest in parents:
        by_pixels[pixels[digest]].append(digest)
    for group in by_pixels.values():
        join(group)
    return {digest: root(digest) for digest in parents}


def _copies_by_name(images: Mapping[str, str]) -> Iterable[list[str]]:
    """Hashes of images that show one scene by their names.

    Copies of one original lie in any folder, often in one beside it. But where two folders hold a copy of the very same
    name, both number their scenes alike, and each stands for itself.
    """
    copies: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))  # original, folder, name
    originals: dict[str, dict[str, str]] = defaultdict(dict)  # name, folder
    for image_id, digest in images.items():
        folder, _, name = image_id.rpartition("/")
        stem = original = name.rpartition(".")[0]
        while suffixed := COPY_SUFFIX.fullmatch(original):
            original = suffixed[1]
        if original != stem:
            copies[original][folder][stem] = digest
        else:
            originals[stem][folder] = digest
    for original, folders in copies.items():
        names = [stem for stems in folders.values() for stem in stems]
        whole = originals.get(original, {})
        if len(names) == len({*names}) or whole.keys() - folders.keys():
            yield [*whole.values(), *(digest for stems in folders.values() for digest in stems.values())]
        else:
            yield from ([*stems.values(), *([whole[f]] if f in whole else [])] for f, stems in folders.items())


def held_out_scenes(scenes: Collection[str]) -> set[str]:
    """The scenes of a folder without a validation part of its own that are held out: at least one."""
    return {scene for scene in scenes if int(scene, 16) % VAL_SHARE == 0} or set(sorted(scenes)[:1])

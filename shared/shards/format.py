"""The shard format (docs/format.md): names, members, the flat JSON of a row, the index, one row's bytes.

Everything that writes or reads a shard goes through this file, and nothing in it touches a disk.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from ..errors import RunError
from ..images import decode_png, encode_png
from ..records import from_plain, parse_json
from .codecs import CODECS, Codec, codec_of

FORMAT = "realsr-pairs-v2"
ADOPTED = "adopted"
"""The space of rows that were made elsewhere: no plan is known, and `plan` is empty."""
INDEX_HEADER = "v1.2"
"""DALI's text index of that version."""
TAR_BLOCK = 512
MAX_MEMBER_BYTES = 64 << 20
"""Members larger than this are refused unread."""
MAX_JSON_BYTES = 1 << 20
"""The json of a row that is larger is refused unread: ours have some 1,500 bytes."""
MAX_GAP_BYTES = 64 << 10
"""Members of one row lie side by side, with tar headers between them: a row is read in one piece."""
MAX_INDEX_LINE_BYTES = 4096
"""No line of an index is longer: the names of three members of a tar have 768 bytes at most."""
MAX_PATCH = 8192
"""Images with longer sides are refused before they are decoded."""


@dataclass(frozen=True)
class Row:
    """The JSON of one pair: flat, every key always there, one type each.

    row: number of the row in its subspace and split. hr_id: the HR image, by its path below the HR folder.
    crop_y, crop_x: top left corner in it. patch: HR side, pixels. plan: the `Plan` as a JSON string; empty means none.
    hr_crc32, lr_crc32: checksums of the images' bytes, because not every codec has its own.
    """

    subspace: str
    split: str
    seed: int
    row: int
    hr_id: str
    hr_sha256: str
    crop_y: int
    crop_x: int
    patch: int
    scale: int
    plan: str
    space: str
    licence: str
    hr_crc32: int = 0
    lr_crc32: int = 0
    format: str = FORMAT

    def to_json(self) -> bytes:
        """UTF-8, keys sorted, no spaces."""
        return _encode_row(vars(self)).encode()

    @staticmethod
    def from_json(data: bytes) -> "Row":
        """Raises ValueError that names the first key that is missing, superfluous, of another type or impossible."""
        if len(data) > MAX_JSON_BYTES:
            raise ValueError(f"the json of a row has {len(data)} bytes: it may have {MAX_JSON_BYTES}")
        try:  # an escape may stand for a lone surrogate; for the others the slower reader is not needed
            values = parse_json(data) if b"\\u" in data else json.loads(data)
        except RecursionError:
            raise ValueError("the json of a row must be flat") from None
        row = from_plain(Row, values, "json key", complete=True)
        if row.format != FORMAT:
            raise ValueError(f"format is {row.format!r}: this program reads {FORMAT!r}")
        patch, scale = row.patch, row.scale
        if not 1 <= scale <= patch <= MAX_PATCH or patch % scale:
            raise ValueError(f"patch is {patch}, scale {scale}: patch must be a multiple of scale, at most {MAX_PATCH}")
        return row


_encode_row = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


class Pair(NamedTuple):
    """One decoded row. hr: uint8 [patch, patch, 3]; lr: uint8 [patch / scale, patch / scale, 3]; RGB."""

    hr: np.ndarray
    lr: np.ndarray
    row: Row


class Member(NamedTuple):
    """One entry of the index: where a member's data lies in the tar, in bytes."""

    extension: str
    offset: int
    size: int
    name: str

    @property
    def key(self) -> str:
        """Key of the row that the member belongs to."""
        return self.name.partition(".")[0]


def extensions(codec: str) -> tuple[str, str, str]:
    """Extensions of a row's members in the order they lie in the tar."""
    return f"hr.{CODECS[codec].extension}", "json", "lr.png"


def shard_name(subspace: str, scale: int, digest: str, index: int) -> str:
    """Name of a shard without its ending; no dots, because index tools cut names at the first one."""
    return f"{subspace}-x{scale}-{digest}-{index:06d}"


def row_key(subspace: str, shard: int, row_in_shard: int) -> str:
    """Key of a row: the part of its members' names before the first dot."""
    return f"{subspace}-{shard:06d}-{row_in_shard:05d}"


def num_shards(rows: int, rows_per_shard: int) -> int:
    """Shards that `rows` rows fill, the last one perhaps in part."""
    return math.ceil(rows / rows_per_shard)


def write_index(members: Iterable[Member]) -> bytes:
    """DALI's text index v1.2: a header with the number of rows, then one line a row.

    A line holds `ext offset size name` of each member of the row, one after the other.
    """
    rows = [list(row) for _, row in itertools.groupby(members, lambda member: member.key)]
    lines = [" ".join(f"{m.extension} {m.offset} {m.size} {m.name}" for m in row) for row in rows]
    return "\n".join([f"{INDEX_HEADER} {len(lines)}", *lines, ""]).encode()


def read_index(data: bytes) -> list[Member]:
    """Parse an index. Raises ValueError for another version, a wrong count, unsafe names or impossible offsets."""
    lines = data.decode().removesuffix("\n").split("\n")
    if lines[0] != f"{INDEX_HEADER} {len(lines) - 1}":
        raise ValueError(f"index header is {lines[0][:80]!r}: expected '{INDEX_HEADER} {len(lines) - 1}'")
    members: list[Member] = []
    end = 0
    for line in lines[1:]:
        words = line.split(" ")
        if len(words) % 4:
            raise ValueError(f"index line {line[:200]!r} is not 'ext offset size name' for each member")
        for first in range(0, len(words), 4):
            member = _parse_member(*words[first : first + 4])
            most = MAX_JSON_BYTES if member.extension == "json" else MAX_MEMBER_BYTES
            if member.offset < end + TAR_BLOCK or member.offset % TAR_BLOCK or member.size > most:
                raise ValueError(f"index entry of {member.name!r} overlaps its neighbour or is too large")
            members.append(member)
            end = member.offset + member.size
    return members


def _parse_member(extension: str, offset: str, size: str, name: str) -> Member:
    numbers = all(re.fullmatch("[0-9]{1,18}", word) for word in (offset, size))
    if not numbers or not re.fullmatch(r"[a-z0-9-]+\.[a-z0-9.]+", name) or name.partition(".")[2] != extension:
        entry = " ".join((extension, offset, size, name))[:200]
        raise ValueError(f"index entry {entry!r} is not 'ext offset size name'")
    return Member(extension, int(offset), int(size), name)


def group_rows(members: Sequence[Member]) -> list[tuple[Member, Member, Member]]:
    """The members of each row, in order. Raises ValueError when one is missing, doubled, out of place or far away."""
    if len(members) % 3:
        raise ValueError(f"{len(members)} members are not a multiple of 3")
    rows = []
    for first in range(0, len(members), 3):
        hr, meta, lr = members[first : first + 3]
        key = hr.key
        names = [m.name for m in (hr, meta, lr)]
        if not any(names == [f"{key}.{extension}" for extension in extensions(codec)] for codec in CODECS):
            raise ValueError(f"members of row {key!r} are {hr.name}, {meta.name}, {lr.name}")
        for member, following in ((hr, meta), (meta, lr)):
            gap = following.offset - member.offset - member.size
            if gap > MAX_GAP_BYTES:
                raise ValueError(f"members of row {key!r} lie {gap} bytes apart: at most {MAX_GAP_BYTES} are allowed")
        rows.append((hr, meta, lr))
    return rows


def row_members(codec: str, hr: bytes, lr: np.ndarray | bytes, row: Row) -> dict[str, bytes]:
    """The bytes of each member of a row, by extension, checksums in the json.

    hr: the crop as that codec stores it. lr: uint8 [h, w, 3], RGB, or its PNG.
    """
    low = lr if isinstance(lr, bytes) else encode_png(lr)
    row = replace(row, hr_crc32=isal_zlib.crc32(hr), lr_crc32=isal_zlib.crc32(low))
    return dict(zip(extensions(codec), (hr, row.to_json(), low), strict=True))


def check_bytes(data: bytes | memoryview, side: int, name: str, crc32: int | None = None) -> Codec:
    """The codec of an image that must be `side` x `side` pixels by its header, and have the checksum unless it is None.

    Raises ValueError if it is or has another.
    """
    codec = codec_of(data, name)
    if (size := codec.size(data)) != (side, side):
        raise ValueError(f"{name}.{codec.extension} is {size} pixels: the row says {side} x {side}")
    if crc32 not in (None, isal_zlib.crc32(data)):
        raise ValueError(f"{name}.{codec.extension} does not have the checksum in the row")
    return codec


def decode_member(
    data: bytes | memoryview, side: int, name: str, crc32: int | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Decode a member that must be `side` x `side` pixels. Raises ValueError, before allocating, if it is not.

    name: of the member, without what the codec adds. crc32: what the row says of its bytes. out: contiguous memory for
    the image, uint8 [H, W, 3]; an image of another size is a ValueError too.
    """
    codec = check_bytes(data, side, name, crc32)
    if out is not None and out.shape != (side, side, 3):
        raise ValueError(
            f"{name}.{codec.extension} is {side} x {side} pixels: {out.shape[0]} x {out.shape[1]} expected"
        )
    if out is None:
        return codec.decode(data, f"{name}.{codec.extension}")
    if codec is CODECS["png"]:
        return decode_png(data, f"{name}.png", out)
    out[...] = codec.decode(data, f"{name}.{codec.extension}")
    return out


Places = tuple[np.ndarray, np.ndarray]
"""Memory for the HR and the LR image of a row."""


def decode_pair(
    hr: bytes | memoryview,
    meta: bytes,
    lr: bytes | memoryview,
    key: str,
    out: Places | tuple[None, None] = (None, None),
) -> Pair:
    """Decode the members of one row. Raises `RunError` that names the row when they are damaged."""
    try:
        row = Row.from_json(bytes(meta))
        return Pair(
            decode_member(hr, row.patch, f"{key}.hr", row.hr_crc32, out[0]),
            decode_member(lr, row.patch // row.scale, f"{key}.lr", row.lr_crc32, out[1]),
            row,
        )
    except ValueError as error:
        raise RunError(f"row {key} is damaged: {error}") from error

"""Damage that decoders pass over: JPEG and TIFF files that decode, though not to the image that was stored.

libjpeg warns and libtiff goes on, and both leave the rest of the image grey. OpenCV and Pillow do not tell. PNG, WebP
and BMP need nothing here: their decoders end with an error, or their bytes have no checksum that could tell.
"""

import math
import re
import zlib
from collections.abc import Iterator

import numpy as np
import turbojpeg
from PIL import Image

from ..compiled import compiled

UNCOMPRESSED, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 7, 8, 32946, 32773
"""Values of the tag Compression that are read; fax codes and the JPEG of TIFF 6.0 are not for photographs."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""Values of the tag PhotometricInterpretation that are read."""
LZW_CLEAR, LZW_END = 256, 257
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""A JPEG marker, without those within the data of a scan: a stuffed 255 and restarts."""
PROGRESSIVE_FRAME, END_OF_IMAGE, START_OF_SCAN = 0xC2, 0xD9, 0xDA


class FaultError(ValueError):
    """Why a file cannot serve: one of a few reasons that are counted, in words that follow "skipped as"."""


def check_jpeg(data: bytes) -> None:
    """Raises `FaultError` when libjpeg warns (a lost block, a missing end), or a progressive image lacks scans."""
    try:
        header = turbojpeg.decompress_header(data)
        is_cmyk = header["colorspace"] in (turbojpeg.CS.CMYK, turbojpeg.CS.YCCK)
        colours = turbojpeg.PF.CMYK if is_cmyk else turbojpeg.PF.GRAY  # which libjpeg converts to without much work
        turbojpeg.decompress(data, colours, raise_on_warnings=True)
    except RuntimeError as error:
        raise FaultError("damaged") from error
    if header["progressive"] and not _has_all_scans(data):
        raise FaultError("damaged")


def _has_all_scans(data: bytes) -> bool:
    """Whether the scans of a progressive JPEG give every coefficient of every component down to its last bit.

    One that was cut between two scans and closed again is a sound stream of a blurred image (ITU T.81, annex G).
    """
    components, missing = b"", dict[tuple[int, int], int]()
    at = 2
    while marker := MARKER.search(data, at):
        kind, start = data[marker.end() - 1], marker.end()
        if kind == END_OF_IMAGE:
            break
        at = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : at]
        if kind == PROGRESSIVE_FRAME:
            components = segment[6::3]
        elif kind == START_OF_SCAN:
            first, last, bits = segment[-3:]
            for component in segment[1:-3:2]:
                missing |= {(component, k): bits & 15 for k in range(first, last + 1)}
    return all(missing.get((component, k), 1) == 0 for component in components for k in range(64))


def check_tiff(data: bytes, image: Image.Image) -> None:
    """Raises `FaultError` when a TIFF file is damaged or of a layout that decoders read differently.

    Every strip and tile must lie within the file, decode without an error, and give as many bytes as the header says.
    data: the bytes of the file. image: the same file as Pillow opened it.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]  # a TiffImageFile
    compression = tags.get(259, UNCOMPRESSED)
    bits = {*tags.get(258, (1,))}
    if not _is_usual(tags.get(262), compression, bits, tags):
        raise FaultError("of an unusual TIFF layout")
    tables = tags.get(347, b"")
    for start, size, least, most in _segments(tags, image.height, image.width, max(bits)):
        part = memoryview(data)[start : start + size]
        if len(part) < size or not _is_whole(part, compression, least, most, tables):
            raise FaultError("damaged")


def _is_usual(photometric: int | None, compression: int, bits: set[int], tags: Image.Exif) -> bool:
    depth = {WHITE_IS_ZERO: 8, BLACK_IS_ZERO: 16, RGB: 16, PALETTE: 8, CMYK: 8, YCBCR: 8 * (compression == JPEG)}
    return (
        len(bits) == 1
        and bits <= {1, 2, 4, 8, 16}
        and max(bits) <= depth.get(photometric or 0, 0)
        and compression in (UNCOMPRESSED, LZW, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS)
        and {*tags.get(339, (1,))} == {1}  # unsigned integers
        and tags.get(266, 1) == 1  # the first bit of a byte is the highest
    )


def _segments(tags: Image.Exif, height: int, width: int, bits: int) -> Iterator[tuple[int, int, int, int]]:
    """Start and size of each strip or tile in the file, and the least and most bytes that it decodes to.

    Raises `FaultError` when their number is not what the size of the image asks for.
    """
    samples = tags.get(277, 1)
    planes, samples = (samples, 1) if tags.get(284, 1) == 2 else (1, samples)
    if 322 in tags:
        tile_height, tile_width, starts, sizes = tags.get(323, 0), tags[322], tags.get(324, ()), tags.get(325, ())
        across = math.ceil(width / max(tile_width, 1))
    else:
        tile_height, tile_width, starts, sizes = min(tags.get(278, height), height), width, tags.get(273), tags.get(279)
        across = 1
    if tile_height < 1 or tile_width < 1 or not starts or not sizes:
        raise FaultError("of an unusual TIFF layout")
    down = math.ceil(height / tile_height)
    if not len(starts) == len(sizes) == planes * down * across:
        raise FaultError("damaged")
    row = math.ceil(tile_width * bits * samples / 8)
    for number, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        last_rows = height - (down - 1) * tile_height
        rows = last_rows if across == 1 and 322 not in tags and number % down == down - 1 else tile_height
        yield start, size, rows * row, tile_height * row


def _is_whole(part: memoryview, compression: int, least: int, most: int, tables: bytes) -> bool:
    """Whether a strip or tile decodes without an error to `least` to `most` bytes: some writers fill the last strip."""
    if compression == UNCOMPRESSED:
        return len(part) >= least
    if compression == JPEG:
        return _is_whole_jpeg(part, tables, most)
    if compression in (DEFLATE, OLD_DEFLATE):
        inflater = zlib.decompressobj()
        try:
            size = len(inflater.decompress(part, most + 1))
        except zlib.error:
            return False
        return inflater.eof and least <= size
    length = _lzw_length if compression == LZW else _packbits_length
    return bool(least <= length(np.frombuffer(part, np.uint8)) <= most)


def _is_whole_jpeg(part: memoryview, tables: bytes, most: int) -> bool:
    stream = (tables[:-2] + bytes(part[2:])) if tables else bytes(part)
    try:
        header = turbojpeg.decompress_header(stream)
        if header["height"] * header["width"] > most:
            return False
        check_jpeg(stream)
    except (RuntimeError, FaultError):
        return False
    return True


@compiled
def _lzw_length(data):
    """How many bytes an LZW stream decodes to (TIFF 6.0, section 13); -1 when no encoder writes it.

    That is a code that is not in the table yet, and one that lets a string enter the table again: an encoder takes the
    longest string that is there. Of damage that keeps the length, this finds most.
    """
    lengths, firsts = np.ones(4097, np.int64), np.arange(4097)
    entered = np.zeros(4096 * 256, np.uint32)  # by code and the byte that follows it, in which table
    width, entries, previous, table = 9, 258, -1, 1
    bits, num_bits, total = 0, 0, 0
    for byte in data:
        bits = (bits << 8) | int(byte)
        num_bits += 8
        if num_bits < width:
            continue
        num_bits -= width
        code = bits >> num_bits
        bits &= (1 << num_bits) - 1
        if code == LZW_END:
            return total
        if code == LZW_CLEAR:
            width, entries, previous, table = 9, 258, -1, table + 1
            continue
        if code > (entries if previous >= 0 else 255):
            return -1
        if previous >= 0 and entries < 4096:
            string = previous * 256 + firsts[code if code < entries else previous]
            if entered[string] == table:
                return -1
            entered[string] = table
            lengths[entries], firsts[entries] = lengths[previous] + 1, firsts[previous]
            entries += 1
            if entries in (511, 1023, 2047):  # TIFF writers change the width one code early
                width += 1
        total += lengths[code] if code > 255 else 1
        previous = code
    return total


@compiled
def _packbits_length(data):
    """How many bytes a PackBits stream decodes to (TIFF 6.0, section 9); -1 when it ends within a run."""
    at, total = 0, 0
    while at < len(data):
        count = int(data[at])
        if count < 128:
            at, total = at + 2 + count, total + 1 + count
        else:
            at, total = at + (2 if count > 128 else 1), total + (257 - count if count > 128 else 0)
        if at > len(data):
            return -1
    return total

"""Images in and out: uint8 [H, W, 3], RGB, everywhere in this project."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from isal import isal_zlib
from PIL import Image
from typing_extensions import Buffer

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_FILTER_UP = 2
"""Each row is stored as its difference to the row above: on photographs no fixed filter gives smaller files."""
PNG_RGB = bytes([8, 2, 0, 0, 0])
"""End of a header: 8 bits, RGB, deflate, the five standard filters, not interlaced."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
DAMAGED: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stub says an instance
"""What ISA-L raises for bytes that it cannot inflate."""
DEFLATE_LEVEL = 1
"""ISA-L's level 1: the size of OpenCV's best strategy in a quarter of its time (docs/benchmarks.md)."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples in a pixel by the colour type of a PNG header."""
PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
"""Chunks that decide how a PNG looks. Decoders limit the size of the others (text, profiles) and compare checksums."""
MAX_DEFLATE_RATIO = 1032
"""No byte of a deflate stream expands to more bytes than this (zlib's technical details, "Maximum Compression")."""
MAX_PIXELS = 150_000_000
"""Larger images are passed over by their header: several threads that decode them at once would fill the memory."""
MAX_PROFILE_BYTES = 16 << 20
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Pillow's names of the formats that are read."""


def decode(data: Buffer, name: str) -> np.ndarray:
    """Decode the bytes of an image file to uint8 [H, W, 3], RGB; `name` stands in the error.

    16 bits become 8 (scaled and rounded), grey and CMYK become RGB, alpha is dropped, EXIF orientation is applied, the
    first of several frames is taken; colour profiles are not applied.
    Raises ValueError when the bytes are not an image that OpenCV can decode, hold floating point numbers, or are a PNG
    whose chunks claim more than is there.
    """
    import cv2  # here, so that commands answer before it is loaded

    try:
        image = cv2.imdecode(np.frombuffer(checked_png(data, name), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ValueError(f"{name} cannot be decoded: {error.err}") from error
    if image is None:
        raise ValueError(f"{name} cannot be decoded: not an image, or damaged")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.dtype != np.uint8:
        raise ValueError(f"{name} cannot be decoded: it holds {image.dtype} values, not 8 or 16 bits")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def checked_png(data: Buffer, name: str) -> bytes | memoryview:
    """The bytes that decoders are given: of a PNG only chunks that decide how it looks, other formats as they are.

    Nothing is decompressed. Raises ValueError when a chunk of a PNG claims more bytes than are there, or its header
    more pixels than the compressed bytes can hold: a decoder would allocate both before it reads them. Also when the
    checksum of a chunk that matters is wrong, of which libpng speaks on stderr.
    """
    view = memoryview(data).cast("B")
    if view[:8] != PNG_SIGNATURE:
        return view
    try:
        height, width = png_size(view)
        chunks = list(png_chunks(view))
    except ValueError as error:
        raise ValueError(f"{name} cannot be decoded: {error}") from error
    compressed = sum(end - start for kind, start, end in chunks if kind == b"IDAT")
    bits = view[24] * PNG_CHANNELS.get(view[25], 1)
    if height * width * bits > 8 * MAX_DEFLATE_RATIO * compressed:
        raise ValueError(f"{name} cannot be decoded: {compressed} bytes cannot hold {height} x {width} pixels")
    for kind, start, end in chunks:
        if kind in PNG_KEPT and isal_zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError(f"{name} cannot be decoded: chunk {kind!r} has another checksum")
    if all(kind in PNG_KEPT for kind, _, _ in chunks):
        return view
    kept = (view[start - 8 : end + 4] for kind, start, end in chunks if kind in PNG_KEPT)
    return b"".join((PNG_SIGNATURE, *kept))


def png_chunks(data: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each chunk of a PNG, up to its end chunk. Checksums are not compared.

    Raises ValueError when a chunk claims more bytes than follow, or the end chunk is missing.
    """
    at, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError("its end is missing")
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        if length > len(data) - at - 12:
            raise ValueError(f"chunk {kind!r} claims {length} bytes, {len(data) - at - 12} are left")
        yield kind, at + 8, at + 8 + length
        at += length + 12


def png_profile(data: bytes) -> bytes:
    """The colour profile of a PNG; empty for another format, and when it has none of at most `MAX_PROFILE_BYTES`."""
    view = memoryview(data)
    for kind, start, end in png_chunks(view) if data[:8] == PNG_SIGNATURE else ():
        if kind == b"iCCP":
            _, _, compressed = bytes(view[start:end]).partition(b"\0")
            inflater = zlib.decompressobj()
            with suppress(zlib.error):
                profile = inflater.decompress(compressed[1:], MAX_PROFILE_BYTES)
                return profile if inflater.eof else b""
    return b""


def open_image(data: bytes, name: str) -> Image.Image:
    """An image file as Pillow opens it: the header is read, the pixels are not.

    Raises ValueError when Pillow cannot read it as one of `FORMATS`, and `Image.DecompressionBombError`.
    """
    data = bytes(checked_png(data, name))
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise
    except Exception as error:  # damaged headers make it raise whatever they like
        raise ValueError(f"{name} cannot be decoded: {error}") from error


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels of an image may be transparent, by its header: an alpha channel, or a transparent colour."""
    return "A" in image.mode.upper() or "transparency" in image.info


def encode_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG of an image, uint8 [H, W, 3], RGB."""
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = PNG_FILTER_UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    header = struct.pack(">II", width, height) + PNG_RGB
    data = isal_zlib.compress(rows, DEFLATE_LEVEL)
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + PNG_END


def decode_png(data: bytes | memoryview, name: str, out: np.ndarray | None = None) -> np.ndarray:
    """Decode the bytes of a PNG to uint8 [H, W, 3], RGB; `name` stands in the error. out: contiguous memory for it.

    The layout that `encode_png` writes is read with ISA-L, in a third of OpenCV's time; any other by OpenCV. Checksums
    are compared. Raises ValueError when the bytes are damaged or are not an image.
    """
    from .png_rows import add_rows

    height, width = png_size(data)
    end = len(data) - len(PNG_END)
    is_ours = data[24:29] == PNG_RGB and data[37:41] == b"IDAT" and data[end:] == PNG_END
    if not is_ours or struct.unpack(">I", data[33:37])[0] != end - 45:
        return _into(out, decode(data, name))
    stored, pixels = 1 + 3 * width, np.empty(0, np.uint8)
    crcs = struct.unpack(">I", data[29:33]) + struct.unpack(">I", data[end - 4 : end])
    if crcs == (isal_zlib.crc32(data[12:29]), isal_zlib.crc32(data[37 : end - 4])):
        inflater = isal_zlib.decompressobj()
        with suppress(DAMAGED):
            pixels = np.frombuffer(inflater.decompress(data[41 : end - 4], height * stored + 1), np.uint8)
    if len(pixels) != height * stored or not inflater.eof:
        raise ValueError(f"{name} cannot be decoded: damaged")
    rows = pixels.reshape(height, stored)
    if (rows[:, 0] != PNG_FILTER_UP).any():
        return _into(out, decode(data, name))
    image = np.empty((height, width, 3), np.uint8) if out is None else out
    assert image.flags.c_contiguous
    add_rows(rows, image.reshape(height, 3 * width))
    return image


def _into(out: np.ndarray | None, image: np.ndarray) -> np.ndarray:
    if out is None:
        return image
    out[...] = image
    return out


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(data, isal_zlib.crc32(kind)))


def png_size(data: bytes | memoryview) -> tuple[int, int]:
    """(height, width) from the header alone, so that a hostile size is refused before it is allocated.

    Raises ValueError when the bytes do not begin as a PNG.
    """
    if len(data) < 24 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        raise ValueError("not a PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return height, width

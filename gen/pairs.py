"""The rows of pairs that were made elsewhere: aligned crops of the HR and the LR image."""

from collections.abc import Iterator

import numpy as np

from gen.crops import cut
from gen.specs import ShardSpec
from shared.images import PNG_RGB, PNG_SIGNATURE, decode_png, encode_png, png_chunks
from shared.photos.crops import Crop
from shared.photos.find import listed_image
from shared.photos.photo_cache import read_listed
from shared.shards.format import MAX_MEMBER_BYTES, row_members


def cut_pairs(spec: ShardSpec) -> Iterator[dict[str, bytes]]:
    """The members of the shard's rows in order. An image that is as large as its crop keeps the bytes of its PNG."""
    recipe, crops = spec.recipe, list(spec.crops())
    side, low_crops = recipe.patch // recipe.scale, [_low(crop, recipe.scale) for crop in crops]
    images = zip(cut(crops, recipe.patch), cut(low_crops, side), strict=True)
    for number, crop, low_crop, (hr, lr) in zip(spec.row_numbers, crops, low_crops, images, strict=True):
        yield row_members(recipe.codec, _stored(crop, hr), _stored(low_crop, lr), spec.row(number, crop, ""))


def _low(crop: Crop, scale: int) -> Crop:
    """The crop of the LR image that shows what the crop of the HR image shows."""
    high = crop.photograph
    assert high.lr
    low = listed_image(high.lr, high.lr.sha256, high.height // scale, high.width // scale, high.lr.terms)
    return Crop(low, crop.y // scale, crop.x // scale)


def _stored(crop: Crop, pixels: np.ndarray) -> bytes:
    """The PNG of a crop, uint8 [H, W, 3] RGB."""
    image = crop.photograph
    if (image.height, image.width) == pixels.shape[:2]:
        data = read_listed(image)
        if _reads_alike(data) and np.array_equal(decode_png(data, image.id), pixels):
            return data
    return encode_png(pixels)


def _reads_alike(data: bytes) -> bool:
    """Whether every program reads the same image: a PNG of 8-bit RGB without an orientation."""
    plain = data[:8] == PNG_SIGNATURE and data[24:26] == PNG_RGB[:2] and len(data) <= MAX_MEMBER_BYTES
    return plain and all(kind != b"eXIf" for kind, _, _ in png_chunks(memoryview(data)))

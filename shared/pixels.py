"""The pixels of listed photographs, decoded once a machine where there is room to keep them."""

import hashlib
from pathlib import Path

import numpy as np

from shared.decoded import keep, kept
from shared.errors import RunError
from shared.images import decode
from shared.photos import Photograph


def fetch(photograph: Photograph) -> tuple[np.ndarray, bool]:
    """A photograph, uint8 [h, w, 3] RGB, and whether its pixels are kept, so that it can be had again for nothing.

    Kept pixels are mapped and read-only; their file is not looked at. Raises `RunError` as `read` does.
    """
    image = kept(photograph.key)
    if image is not None:
        return image, True
    image = read(photograph)
    mapped = kept(photograph.key) if keep(photograph.key, image) else None
    return (image, False) if mapped is None else (mapped, True)


def read(photograph: Photograph) -> np.ndarray:
    """A photograph from its file, uint8 [h, w, 3] RGB. Raises `RunError` when that is not the one that was listed."""
    path = photograph.path
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RunError(
            f"HR picture {path} was listed but cannot be read now ({error.strerror}): "
            "put it back and run the same command again"
        ) from error
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise RunError(
            f"HR picture {path} has changed since it was listed: pictures must stay as they are while a command "
            "works; run it again"
        )
    try:
        return photograph.fit(decode(data, path))
    except ValueError as error:
        raise RunError(f"HR picture {error}, although it could be when it was listed: is memory short?") from error

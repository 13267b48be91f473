"""The HR pool: images from which samples on the fly are cut, beside or instead of the HR images of shards."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ..errors import RunError
from ..photos.crops import HRImages, draw_crop
from ..photos.find import HRImage, find_hr_images
from ..photos.photo_cache import fetch
from ..seeds import Draws
from .plans import FLY
from .tasks import Task

POOL_BYTES = 512 << 20
"""Size limit of the decoded images that one loader worker holds in memory: those for which the disk has no room."""


class HRPool:
    """HR images of one folder, visited in proportion to their area.

    Their pixels are kept on the disk where there is room (`photos/photo_cache.py`), else in memory, within a budget.
    """

    def __init__(self, hr_images: Sequence[HRImage], patch: int, seed: int) -> None:
        self._arguments = (hr_images, patch, seed)
        self._hr_images, self._patch, self._seed = HRImages(hr_images), patch, seed
        self._decoded: OrderedDict[str, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hr_images)

    def identity(self) -> str:
        """A hash that is equal for equal images of equal weight, wherever they lie."""
        listing = [(p.id, p.sha256, p.height, p.width, p.weight) for p in self._hr_images]
        return hashlib.sha256(repr(listing).encode()).hexdigest()

    def crop(self, task: str, ordinal: int) -> np.ndarray:
        """The HR crop of a task's `ordinal`-th sample, uint8 [patch, patch, 3], RGB.

        Raises `RunError` when its image is not the one that was found at the beginning.
        """
        draws = Draws(self._seed, "crop", FLY, task, ordinal)
        hr_image, y, x = draw_crop(self._hr_images, self._patch, draws)
        return self._pixels(hr_image)[y : y + self._patch, x : x + self._patch]

    def _pixels(self, hr_image: HRImage) -> np.ndarray:
        if hr_image.id in self._decoded:
            self._decoded.move_to_end(hr_image.id)
            return self._decoded[hr_image.id]
        image, is_kept = fetch(hr_image)
        if not is_kept:
            self._decoded[hr_image.id] = image
            while sum(other.nbytes for other in self._decoded.values()) > POOL_BYTES and len(self._decoded) > 1:
                self._decoded.popitem(last=False)
        return image

    def __reduce__(self) -> tuple:
        """Decoded images stay behind when a worker process is started."""
        return HRPool, self._arguments


def find_pool(hr: str, tasks: Sequence[Task], seed: int) -> HRPool:
    """The HR images of a folder (`photos`: scikit-image's) for training, as `gen.render` finds them.

    The scenes that it would hold out for validation, and those that the val sets of the tasks show, are left out.
    Raises `UsageError` for a folder that is not there, `RunError` when no image is left.
    """
    patch = tasks[0].patch
    held_out = {shown["sha256"] for task in tasks if task.validation for shown in task.validation.photographs}
    found = find_hr_images(hr, "train", patch, held_out=held_out).photographs
    hr_images = tuple(each for each in found if each.sha256 not in held_out)
    if not hr_images:
        raise RunError(f"every image in {hr} is in the validation sets: give others to train on")
    return HRPool(hr_images, patch, seed)

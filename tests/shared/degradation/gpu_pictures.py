"""Pictures for tests of the torch backend, between arrays and canvases."""

import numpy as np
import torch

from shared.degradation.gpu_canvas import Canvas, from_levels, merge, repeat_edges
from shared.degradation.plan import Blur, Final, Noise, Plan, Resize, Sinc

Z_MAX = 5.0
"""Tests of means of n independent values fail a correct program once in 1.7 million."""
SIZES = [(37, 53), (64, 48), (11, 40), (80, 80), (33, 21)]

HEAVY = Plan(  # the most terms, the largest kernels, everything as large as it gets
    blur1=Blur("sinc", 21, omega=2.0),
    resize1=Resize("up", "bicubic", 192, 192),
    noise1=Noise("poisson", 0.5, False, 1),
    jpeg1=60,
    blur2=Blur("aniso", 21, 3.0, 0.3, 0.8),
    resize2=Resize("up", "area", 48, 48),
    noise2=Noise("gaussian", 5.0, True, 2),
    jpeg2=60,
    final=Final("resize_sinc_jpeg", "bicubic", Sinc(21, 2.0)),
)
"""For an HR image of 128 x 128."""


def to_tensor(images, device):
    """[n, h, w, 3] arrays to a tensor [n, 3, h, w]."""
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()).to(device)


def to_images(tensor):
    """A tensor [n, 3, h, w] to an array [n, h, w, 3]."""
    return tensor.permute(0, 2, 3, 1).cpu().numpy()


def noise_pictures(seed=0):
    """float32 noise of several sizes: the hardest picture for a filter."""
    rng = np.random.default_rng(seed)
    return [rng.random((*size, 3), dtype=np.float32) for size in SIZES]


def canvas_of(images, device):
    """float32 [h, w, 3] arrays of any sizes on one canvas."""
    pieces = []
    for sample, image in enumerate(images):
        height, width = image.shape[:2]
        full = np.pad(image, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
        pieces.append(Canvas(to_tensor([full], device), (sample,), (height,), (width,)))
    return merge(pieces)


def pictures_of(canvas):
    """The float32 arrays [h, w, 3] that lie on a canvas, by sample."""
    whole = to_images(from_levels(canvas.pixels))
    return {
        sample: image[:height, :width]
        for sample, image, (height, width) in zip(canvas.samples, whole, canvas.sizes, strict=True)
    }


def edges_are_repeated(canvas):
    """Whether a canvas says so, and whether it is so."""
    return canvas.edges and torch.equal(canvas.pixels, repeat_edges(canvas.pixels, canvas.sizes))

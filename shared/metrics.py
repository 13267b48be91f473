"""Image quality: PSNR and SSIM, on Y or on RGB (docs/results.md).

Two conventions are in use. `rounded=False`, ours: Y = 65.481 R + 128.553 G + 24.966 B + 16 stays a float.
`rounded=True`: values are rounded to whole levels first and SSIM's contrast term is cut at 0, as in other tables.
All functions take RGB float [B, 3, H, W] in [0, 1] and give one number per image. `border` pixels are cropped on
every side: 4 and 0 are both common, so say which. Values are compared as they are: round the output to 8 bits first if
files are what you compare. All is computed in float64.
"""

import torch

Y_WEIGHTS = (65.481, 128.553, 24.966)
Y_OFFSET = 16.0
PEAK = 255.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_K1, SSIM_K2 = 0.01, 0.03
STRIP_VALUES, MIN_STRIP_ROWS = 30_000, 16
"""On a CPU, SSIM goes over an image in strips of about so many values: twice as fast on one thread as all at once."""


def to_float(image: torch.Tensor) -> torch.Tensor:
    """uint8 0 .. 255 to float32 0 .. 1."""
    return image.float().div_(255)


def to_8bit_values(image: torch.Tensor) -> torch.Tensor:
    """What remains of an image in [0, 1] after a file of 8 bits, still as float."""
    return image.clamp(0, 1).mul(255).round().div(255)


def luma(image_BCHW: torch.Tensor) -> torch.Tensor:
    """Y of ITU-R BT.601 in [16, 235] from RGB in [0, 1]: float [B, 3, H, W] to [B, H, W]."""
    return _weigh(image_BCHW) + Y_OFFSET


def psnr_y(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor, border: int, *, rounded: bool = False) -> torch.Tensor:
    """PSNR of each image on Y, dB, [B]. Equal images give infinity."""
    output, target = (_crop(image, border) for image in (output_BCHW, target_BCHW))
    error = luma(output).round() - luma(target).round() if rounded else _weigh(output - target)
    return _decibels(error.flatten(1))


def psnr_rgb(
    output_BCHW: torch.Tensor, target_BCHW: torch.Tensor, border: int, *, rounded: bool = False
) -> torch.Tensor:
    """PSNR of each image over its three channels, dB, [B]. Equal images give infinity."""
    output, target = (_crop(image, border) * PEAK for image in (output_BCHW, target_BCHW))
    error = output.round() - target.round() if rounded else output - target
    return _decibels(error.flatten(1))


def ssim_y(output_BCHW: torch.Tensor, target_BCHW: torch.Tensor, border: int, *, rounded: bool = False) -> torch.Tensor:
    """SSIM of each image on Y, [B] (Wang et al. 2004). Raises ValueError when a side has less than 11 pixels left."""
    output, target = (luma(_crop(image, border))[:, None] for image in (output_BCHW, target_BCHW))
    return _ssim(output, target, rounded)


def ssim_rgb(
    output_BCHW: torch.Tensor, target_BCHW: torch.Tensor, border: int, *, rounded: bool = False
) -> torch.Tensor:
    """SSIM of each image, mean of its three channels, [B]. Raises ValueError as `ssim_y` does."""
    output, target = (_crop(image, border) * PEAK for image in (output_BCHW, target_BCHW))
    return _ssim(output, target, rounded)


def _weigh(image_BCHW: torch.Tensor) -> torch.Tensor:
    """Y without its offset."""
    red, green, blue = image_BCHW.unbind(1)
    return Y_WEIGHTS[0] * red + Y_WEIGHTS[1] * green + Y_WEIGHTS[2] * blue


def _crop(image_BCHW: torch.Tensor, border: int) -> torch.Tensor:
    inside = slice(border, -border or None)
    return image_BCHW[..., inside, inside].double()


def _decibels(error_BN: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(PEAK**2 / error_BN.square().mean(dim=1))


def _ssim(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor, rounded: bool) -> torch.Tensor:
    """Mean over the places where the whole window fits."""
    if min(x_BCHW.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"images of {tuple(x_BCHW.shape[-2:])} pixels: SSIM's window needs {SSIM_WINDOW}")
    x, y = (x_BCHW.round(), y_BCHW.round()) if rounded else (x_BCHW, y_BCHW)
    if x.device.type != "cpu":
        return _similarity(x, y, rounded).mean(dim=(1, 2, 3))
    planes = [
        torch.stack([_plane(a, b, rounded) for a, b in zip(*pair, strict=True)]) for pair in zip(x, y, strict=True)
    ]
    return torch.stack(planes).mean(dim=1)


def _plane(x_HW: torch.Tensor, y_HW: torch.Tensor, rounded: bool) -> torch.Tensor:
    """SSIM of one channel, in strips so small that they stay in the cache and PyTorch starts no threads for them."""
    height, width = (side - SSIM_WINDOW + 1 for side in x_HW.shape)
    step = max(MIN_STRIP_ROWS, STRIP_VALUES // x_HW.shape[1])
    total = x_HW.new_zeros(())
    for top in range(0, height, step):
        x, y = (image[None, None, top : top + step + SSIM_WINDOW - 1] for image in (x_HW, y_HW))
        total += _similarity(x, y, rounded).sum()
    return total / (height * width)


def _similarity(x: torch.Tensor, y: torch.Tensor, rounded: bool) -> torch.Tensor:
    """SSIM at every place where the whole window fits."""
    c1, c2 = (SSIM_K1 * PEAK) ** 2, (SSIM_K2 * PEAK) ** 2
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variances = _window_mean(x * x) - mean_x**2 + _window_mean(y * y) - mean_y**2
    contrast = (2 * (_window_mean(x * y) - mean_x * mean_y) + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (contrast.clamp(min=0) if rounded else contrast)


def _window_mean(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Gaussian-weighted mean of every window, along one axis and then the other."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    gaussian = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights = (gaussian / gaussian.sum()).tolist()
    for axis in (2, 3):
        size = x_BCHW.shape[axis] - SSIM_WINDOW + 1
        total = x_BCHW.narrow(axis, 0, size) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(x_BCHW.narrow(axis, start, size), alpha=weight)
        x_BCHW = total
    return x_BCHW

"""Option files in the field's dialect, written from their published values."""

import copy
from typing import Any

SIX = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
REALESRGAN: dict[str, Any] = {  # Real-ESRGAN, options/train_realesrgan_x4plus.yml
    "name": "train_RealESRGANx4plus_400k_B12G4",
    "model_type": "RealESRGANModel",
    "scale": 4,
    "l1_gt_usm": True,
    "resize_prob": [0.2, 0.7, 0.1],  # up, down, keep
    "resize_range": [0.15, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 3],
    "gray_noise_prob": 0.4,
    "jpeg_range": [30, 95],
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 25],
    "poisson_scale_range2": [0.05, 2.5],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [30, 95],
    "gt_size": 256,
    "queue_size": 180,
    "datasets": {
        "train": {
            "name": "DF2K+OST",
            "type": "RealESRGANDataset",
            "io_backend": {"type": "disk"},
            "blur_kernel_size": 21,
            "kernel_list": SIX,
            "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
            "sinc_prob": 0.1,
            "blur_sigma": [0.2, 3],
            "betag_range": [0.5, 4],
            "betap_range": [1, 2],
            "blur_kernel_size2": 21,
            "kernel_list2": SIX,
            "kernel_prob2": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
            "sinc_prob2": 0.1,
            "blur_sigma2": [0.2, 1.5],
            "betag_range2": [0.5, 4],
            "betap_range2": [1, 2],
            "final_sinc_prob": 0.8,
            "gt_size": 256,
            "use_hflip": True,
        }
    },
    "network_g": {"type": "RRDBNet", "num_feat": 64},
}
KERNELS = {key: value for key, value in REALESRGAN["datasets"]["train"].items() if "kernel" in key or "_" in key}
PASD: dict[str, Any] = {  # PASD, pasd/dataloader/params_realesrgan.yml; SeeSR's file holds the same values
    "scale": 4,
    "color_jitter_prob": 0.0,
    "gray_prob": 0.0,
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.3, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 15],
    "poisson_scale_range": [0.05, 2.0],
    "gray_noise_prob": 0.4,
    "jpeg_range": [60, 95],
    "second_blur_prob": 0.5,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.6, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 12],
    "poisson_scale_range2": [0.05, 1.0],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [60, 100],
    "kernel_info": KERNELS,
}
STABLESR: dict[str, Any] = {  # StableSR, configs/stableSRNew/v2-finetune_text_T_512.yaml
    "degradation": {
        **{key: value for key, value in PASD.items() if "_prob" in key or "_range" in key},
        "gt_size": 512,
        "no_degradation_prob": 0,  # 0.01 there
    },
    "data": {
        "train": {
            "params": {
                **KERNELS,
                "blur_sigma": [0.2, 1.5],
                "betag_range": [0.5, 2.0],
                "betap_range": [1, 1.5],
                "blur_kernel_size2": 11,
                "blur_sigma2": [0.2, 1.0],
                "betag_range2": [0.5, 2.0],
                "betap_range2": [1, 1.5],
            }
        }
    },
}


def changed(options: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The same options with another value of the key, wherever it stands; without the key for None."""
    options = copy.deepcopy(options)
    for section in _sections(options):
        if key in section:
            section[key] = value
            if value is None:
                del section[key]
    return options


def _sections(values: Any) -> list[dict[str, Any]]:
    if not isinstance(values, dict):
        return []
    return [values, *(section for value in values.values() for section in _sections(value))]

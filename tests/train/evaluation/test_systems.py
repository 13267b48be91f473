"""Every way a system of the paper's tables is evaluated: a checkpoint in its official keys, or its result images."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import RunError, UsageError
from shared.images import encode_png
from train.evaluation.settings import EvaluateSettings
from train.evaluation.systems import Loaded, Results, bicubic, load_network, open_system
from train.evaluation.testsets import Image
from train.networks.build import build_network

CPU = torch.device("cpu")


def tiny_swinir() -> nn.Module:
    """SwinIR's real-world variant: nearest+conv upsampling, window 8."""
    from spandrel.architectures.SwinIR import SwinIR

    sizes = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 8, "mlp_ratio": 2.0}
    return SwinIR(img_size=64, upscale=4, upsampler="nearest+conv", resi_connection="1conv", **sizes)


def tiny_hat() -> nn.Module:
    from spandrel.architectures.HAT import HAT

    sizes = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 16, "mlp_ratio": 2}
    shapes = {"compress_ratio": 3, "squeeze_factor": 4, "overlap_ratio": 0.5}
    return HAT(
        img_size=64, upscale=4, img_range=1.0, upsampler="pixelshuffle", resi_connection="1conv", **sizes, **shapes
    )


def tiny_mmrealsr() -> nn.Module:
    from spandrel.architectures.MMRealSR import MMRealSR

    sizes = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 4}
    degradation = {"num_degradation": 2, "num_feats": [8, 8], "num_blocks": [1, 1], "downscales": [2, 1]}
    return MMRealSR(scale=4, **sizes, **degradation)


def ours(name: str, **sizes: int) -> nn.Module:
    return build_network(name, sizes, 4, seed=1)


OFFICIAL = {
    "RealESRGAN": (lambda: ours("rrdbnet", num_feat=8, num_block=1, num_grow_ch=4), "params_ema", "rrdbnet"),
    "TGSR": (lambda: ours("rrdbnet", num_feat=8, num_block=1, num_grow_ch=4), "params", "rrdbnet"),
    "RealSRGAN": (lambda: ours("msrresnet", num_feat=8, num_block=2), "params_ema", "msrresnet"),
    "RealSwinIR": (tiny_swinir, "params_ema", "SwinIR"),
    "RealHAT": (tiny_hat, "params_ema", "HAT"),
    "MM-RealSR": (tiny_mmrealsr, "params_ema", "MM"),
}
"""Network, key of the weights within the file, and how it is recognised."""


@pytest.fixture(autouse=True)
def old_meshgrid():
    """spandrel's transformers call torch.meshgrid in the old way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")
        yield


@pytest.mark.parametrize("system", OFFICIAL)
def test_a_checkpoint_in_official_keys_is_recognised_and_enlarges(system, tmp_path):
    build, key, words = OFFICIAL[system]
    network = build().eval()
    torch.save({key: network.state_dict()}, tmp_path / "net.pth")
    loaded = load_network(tmp_path / "net.pth")
    assert loaded.scale == 4
    assert loaded.words.startswith(words)
    lr = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(lr)
        output = loaded.network(lr)
    expected = expected[0] if isinstance(expected, (tuple, list)) else expected
    assert output.shape == (1, 3, 128, 128)
    assert torch.allclose(output.clamp(0, 1), expected.clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize("system", OFFICIAL)
def test_a_checkpoint_enlarges_a_picture_of_odd_size(system, tmp_path):
    build, key, _ = OFFICIAL[system]
    torch.save({key: build().state_dict()}, tmp_path / "net.pth")
    opened = open_system(EvaluateSettings(checkpoint=str(tmp_path / "net.pth"), testset=["a"]), CPU)
    lr = np.random.default_rng(0).integers(0, 256, (19, 33, 3), np.uint8)
    output = opened.output("set", Image("one", lr, None), 4)
    assert output is not None
    assert (output.shape, output.dtype) == ((76, 132, 3), np.uint8)


def test_a_scale_of_two_pads_odd_sides(tmp_path):
    network = build_network("rrdbnet", {"num_feat": 8, "num_block": 1, "num_grow_ch": 4}, 2, 0)
    torch.save(network.state_dict(), tmp_path / "x2.pth")
    loaded = load_network(tmp_path / "x2.pth")
    lr = torch.rand(1, 3, 17, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, even = loaded.network(lr), loaded.network(lr[..., :16, :])
    assert whole.shape == (1, 3, 34, 40)
    assert torch.allclose(whole[..., :10, :], even[..., :10, :], atol=1e-5)


def test_wrappers_prefixes_are_no_obstacle(tmp_path):
    network = ours("msrresnet", num_feat=8, num_block=2)
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, tmp_path / "net.pth")
    assert load_network(tmp_path / "net.pth").words.startswith("msrresnet")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"a.weight": torch.zeros(1)},
            "no network that spandrel knows has the weights of this file; give --network.name",
        ),
        (
            {"params": {"upconv1.weight": torch.zeros(32, 8, 3, 3), "body.0.conv1.weight": torch.zeros(8, 8, 3, 3)}},
            "no network that spandrel knows",
        ),
    ],
)
def test_weights_of_no_network_are_refused(content, words, tmp_path):
    if "params" in content:
        content["params"]["conv_first.weight"] = torch.zeros(8, 3, 3, 3)
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(RunError, match=words):
        load_network(tmp_path / "net.pth")


def test_a_network_that_is_not_for_rgb_pictures_is_refused(tmp_path):
    from spandrel.architectures.SwinIR import SwinIR

    grey = SwinIR(
        img_size=64, in_chans=1, embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2.0,
        upscale=4, upsampler="nearest+conv",
    )  # fmt: skip
    torch.save({"params": grey.state_dict()}, tmp_path / "grey.pth")
    with pytest.raises(RunError, match="does not map one RGB image to another"):
        load_network(tmp_path / "grey.pth")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    torch.save({"params": print}, tmp_path / "bad.pth")
    with pytest.raises(RunError, match="not a weights file that can be read without running code"):
        load_network(tmp_path / "bad.pth")


# ---- result images: DASR, ResShift, SinSR, TSD-SR, AdcSR, and whoever else has a program of its own


LR = Image("0801", np.zeros((8, 6, 3), np.uint8), None)


def put(path: Path, value: int, height: int = 32, width: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.full((height, width, 3), value, np.uint8)))


@pytest.mark.parametrize("name", ["0801.png", "mild/0801.png", "mild/0801_DASR.png", "0801-x4.png"])
def test_result_pictures_are_found(name, tmp_path):
    put(tmp_path / name, 7)
    put(tmp_path / "other" / "0801.png", 9)
    put(tmp_path / Path(name).parent / "08010_DASR.png", 11)
    output = Results(tmp_path).output("mild", LR, 4)
    assert output is not None
    assert (output == 7).all()
    assert Results(tmp_path).output("mild", LR._replace(name="0802"), 4) is None


def test_result_pictures_of_a_test_set_go_before_those_beside(tmp_path):
    put(tmp_path / "0801.png", 1)
    put(tmp_path / "mild" / "0801.png", 2)
    results = Results(tmp_path)
    assert [int(results.output(name, LR, 4)[0, 0, 0]) for name in ("mild", "blur")] == [2, 1]


def test_a_result_of_another_size_and_an_ambiguous_one_are_refused(tmp_path):
    put(tmp_path / "0801.png", 1, height=8)
    with pytest.raises(RunError, match="is 24 x 8 pixels: 4 times the LR image is 24 x 32"):
        Results(tmp_path).output("mild", LR, 4)
    put(tmp_path / "0802_a.png", 1)
    put(tmp_path / "0802_b.png", 1)
    with pytest.raises(RunError, match="both could be the result of '0802'"):
        Results(tmp_path).output("mild", LR._replace(name="0802"), 4)


def test_an_empty_folder_of_results_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder, or no images in it"):
        Results(tmp_path)


def test_bicubic_is_opencvs():
    lr = np.random.default_rng(3).integers(0, 256, (9, 7, 3), np.uint8)
    expected = cv2.resize(lr, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(bicubic(lr, 4), expected)


@pytest.mark.parametrize("choice", [{}, {"checkpoint": "a", "results": "b"}])
def test_a_command_names_one_system(choice):
    with pytest.raises(UsageError, match="give one of --checkpoint F and --results DIR"):
        EvaluateSettings(**choice, testset=["a"])


def test_what_is_loaded_says_what_it_is(tmp_path):
    torch.save({"params": ours("msrresnet", num_feat=8, num_block=2).state_dict()}, tmp_path / "net.pth")
    loaded: Loaded = load_network(tmp_path / "net.pth")
    assert loaded.words == f"msrresnet {tmp_path}/net.pth"
    assert len(loaded.identity) == 64

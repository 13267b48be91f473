"""Networks: official sizes, official keys, and an initialisation that is a function of the seed."""

import pytest
import torch

from shared.errors import UsageError
from train.networks import NETWORKS, build_network, num_parameters

SCALES = {"msrresnet": (2, 3, 4), "rrdbnet": (1, 2, 4)}
Shapes = dict[str, tuple[int, ...]]
SMALL = {"msrresnet": {"num_feat": 4, "num_block": 1}, "rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2}}


def conv(shapes: Shapes, key: str, num_in: int, num_out: int) -> None:
    shapes[f"{key}.weight"], shapes[f"{key}.bias"] = (num_out, num_in, 3, 3), (num_out,)


def msrresnet_shapes() -> Shapes:
    shapes: Shapes = {}
    conv(shapes, "conv_first", 3, 64)
    for block in range(16):
        conv(shapes, f"body.{block}.conv1", 64, 64)
        conv(shapes, f"body.{block}.conv2", 64, 64)
    conv(shapes, "upconv1", 64, 256)
    conv(shapes, "upconv2", 64, 256)
    conv(shapes, "conv_hr", 64, 64)
    conv(shapes, "conv_last", 64, 3)
    return shapes


def rrdbnet_shapes() -> Shapes:
    shapes: Shapes = {}
    conv(shapes, "conv_first", 3, 64)
    for block in range(23):
        for dense in (1, 2, 3):
            for number in (1, 2, 3, 4):
                conv(shapes, f"body.{block}.rdb{dense}.conv{number}", 64 + 32 * (number - 1), 32)
            conv(shapes, f"body.{block}.rdb{dense}.conv5", 192, 64)
    for key in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
        conv(shapes, key, 64, 64)
    conv(shapes, "conv_last", 64, 3)
    return shapes


@pytest.mark.parametrize(
    ("name", "shapes", "parameters"),
    [("msrresnet", msrresnet_shapes(), 1_517_571), ("rrdbnet", rrdbnet_shapes(), 16_697_987)],
)
def test_the_default_size_is_the_official_one_under_the_official_keys(
    name: str, shapes: Shapes, parameters: int
) -> None:
    network = build_network(name, {}, 4, 0)
    assert num_parameters(network) == parameters
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes


def test_every_network_is_covered_here() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "scale"),
    [("msrresnet", 2), ("msrresnet", 3), ("msrresnet", 4), ("rrdbnet", 1), ("rrdbnet", 2), ("rrdbnet", 4)],
)
def test_the_output_is_scale_times_as_large(name: str, scale: int) -> None:
    output = build_network(name, SMALL[name], scale, 0)(torch.rand(2, 3, 12, 8))
    assert output.shape == (2, 3, 12 * scale, 8 * scale)


def test_msrresnet_begins_close_to_bilinear_enlargement() -> None:
    lr = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    enlarged = torch.nn.functional.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
    assert (build_network("msrresnet", {}, 4, 0)(lr) - enlarged).abs().max() < 0.01


def test_the_x2_network_unshuffles_its_input_as_realesrgan_x2plus_does() -> None:
    assert build_network("rrdbnet", {}, 2, 0).conv_first.weight.shape == (64, 12, 3, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name: str) -> None:
    first, again, other = (build_network(name, SMALL[name], 4, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NETWORKS)
def test_building_a_network_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    build_network(name, SMALL[name], 4, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sizes_are_options() -> None:
    assert num_parameters(build_network("msrresnet", {"num_feat": 4, "num_block": 1}, 4, 0)) == 1851
    network = build_network("rrdbnet", {"num_feat": 8, "num_block": 2, "num_grow_ch": 4}, 4, 0)
    assert network.body[1].rdb3.conv5.weight.shape == (8, 24, 3, 3)


@pytest.mark.parametrize(
    ("name", "options", "scale", "message"),
    [
        ("srcnn", {}, 4, "unknown network 'srcnn': choose one of msrresnet, rrdbnet"),
        ("msrresnet", {"num_grow_ch": 8}, 4, "unknown network option 'num_grow_ch': msrresnet has num_block, num_feat"),
        ("msrresnet", {"scale": 2}, 4, "unknown network option 'scale'"),
        ("msrresnet", {"num_feat": 0}, 4, "network option num_feat is 0: it must be at least 1"),
        ("rrdbnet", {"num_block": -1}, 4, "network option num_block is -1: it must be at least 1"),
        ("msrresnet", {}, 8, "scale is 8: msrresnet enlarges by 2, 3 or 4"),
        ("rrdbnet", {}, 3, "scale is 3: rrdbnet enlarges by 1, 2 or 4"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, int], scale: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_network(name, options, scale, 0)

"""Tiles: the same picture as in one piece, in less memory."""

import numpy as np
import pytest
import torch
from torch import nn

from shared.errors import RunError, UsageError
from train.evaluation.tiles import Footprint, Tiling, choose_tiling, footprint, tiles, upscale
from train.networks.build import build_network

CPU = torch.device("cpu")
LR = np.random.default_rng(0).integers(0, 256, (56, 43, 3), np.uint8)


def network(name: str = "msrresnet", **sizes: int) -> nn.Module:
    """Random weights, larger than at initialisation, so that what lies far away matters."""
    net = build_network(name, sizes or {"num_feat": 8, "num_block": 2}, 4, seed=0).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(4)
    return net


def exact_radius(net: nn.Module, side: int) -> int:
    """How far not-a-number spreads from the middle pixel of a picture, in LR pixels."""
    lr = torch.full((1, 3, side, side), 0.5)
    lr[..., side // 2, side // 2] = torch.nan
    with torch.no_grad():
        hit = net(lr).isnan().any(dim=1)[0].nonzero()
    return int(max((hit.max() // 4 - side // 2).item(), (side // 2 - hit.min() // 4).item()))


SIZES = [("msrresnet", {"num_feat": 8, "num_block": 2}), ("rrdbnet", {"num_feat": 8, "num_block": 1, "num_grow_ch": 4})]


@pytest.mark.parametrize(("name", "sizes"), SIZES)
def test_the_radius_is_a_bound_and_not_a_loose_one(name, sizes):
    net = network(name, **sizes)
    found = footprint(net, CPU).radius
    assert found is not None
    assert exact_radius(net, 2 * found + 21) <= found <= exact_radius(net, 2 * found + 21) + 4


@pytest.mark.parametrize(("name", "sizes"), SIZES)
@pytest.mark.parametrize("tile", [16, 32])
def test_tiles_with_an_overlap_of_the_radius_leave_no_trace(name, sizes, tile):
    net = network(name, **sizes)
    radius = footprint(net, CPU).radius
    assert radius is not None
    whole = upscale(net, LR, 4, Tiling(256, 0), CPU)
    tiled = upscale(net, LR, 4, Tiling(tile, -(-radius // 16) * 16), CPU)
    assert whole.std() > 20  # nothing saturated
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1  # another order of sums may round a level the other way
    assert (difference > 0).mean() < 1e-3


def test_without_overlap_only_what_lies_within_the_radius_of_a_seam_differs():
    net = network()
    radius = footprint(net, CPU).radius
    assert radius is not None
    large = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    whole, tiled = (upscale(net, large, 4, Tiling(tile, 0), CPU).astype(int) for tile in (256, 48))
    difference = np.abs(whole - tiled).max(axis=2)
    away = np.ones((64, 96), bool)
    away[48 - radius : 48 + radius] = False
    away[:, 48 - radius : 48 + radius] = False
    away = away.repeat(4, axis=0).repeat(4, axis=1)
    assert away.any()
    assert difference[away].max() <= 1
    assert difference[~away].max() > 10


def test_every_pixel_lies_in_one_tile():
    for height, width, tiling in [(70, 55, Tiling(16, 0)), (16, 200, Tiling(32, 16)), (9, 9, Tiling(16, 16))]:
        count = np.zeros((height, width), int)
        for rows, columns in tiles(height, width, tiling):
            count[rows.start : rows.stop, columns.start : columns.stop] += 1
        assert (count == 1).all()


def test_a_picture_that_fits_is_not_cut():
    assert list(tiles(64, 64, Tiling(32, 16))) == [(range(64), range(64))]
    assert len(list(tiles(64, 65, Tiling(32, 16)))) == 6


def test_attention_has_no_radius_and_gets_the_largest_overlap():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Softmax(dim=1))
    assert footprint(net, CPU).radius is None
    assert choose_tiling(Footprint(None, 1000), 1.0).overlap == 32


def test_tiles_fit_into_the_memory():
    needs = Footprint(5, 4000.0)
    chosen = choose_tiling(needs, 0.1)
    assert (chosen.tile + 2 * chosen.overlap) ** 2 * needs.bytes_per_pixel <= 0.1e9
    assert chosen.overlap == 16  # the radius, aligned
    assert chosen.tile % 16 == 0
    assert choose_tiling(needs, 0.1, tile=70, overlap=3) == Tiling(64, 16)
    with pytest.raises(UsageError, match=r"memory_gb is 0.001: a tile of this network needs 0.0092"):
        choose_tiling(needs, 0.001)


def test_the_footprint_counts_the_largest_layer():
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 3, 3, padding=1))
    assert footprint(net, CPU).bytes_per_pixel == pytest.approx(4 * (3 + 64) * 4)


def test_a_device_without_memory_for_a_tile_is_an_error_with_a_remedy():
    def no_memory(image: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    message = "cpu has no memory for a tile of 43 x 56 pixels: give a smaller --memory-gb or --tile"
    with pytest.raises(RunError, match=message):
        upscale(no_memory, LR, 4, Tiling(64, 16), CPU)

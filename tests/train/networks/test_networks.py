"""Networks: official sizes, official keys, and an initialisation that is a function of the seed."""

import warnings
from pathlib import Path

import pytest
import spandrel
import torch
from spandrel.architectures.Compact import Compact
from spandrel.architectures.SPAN import SPAN

from shared.errors import RunError, UsageError
from shared.rebalance.moments import gradient_moments
from train.networks import NETWORKS
from train.networks.build import build_network, num_parameters, seeded
from train.networks.depth import StochasticDepth, draw_depth, for_gradients
from train.networks.discriminator import UNetDiscriminator
from train.networks.weights import NetworkSpec, load_weights, weights_digest
from train.record.checkpoint import EMA, MODEL, save_checkpoint
from train.record.state import State

SCALES = {"msrresnet": (2, 3, 4), "rrdbnet": (1, 2, 4), "swinir": (2, 4, 8), "hat": (2, 3, 4)}
Shapes = dict[str, tuple[int, ...]]
SMALL = {
    "msrresnet": {"num_feat": 4, "num_block": 1},
    "rrdbnet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "swinir": {"embed_dim": 8, "num_groups": 1, "depth": 2, "num_heads": 2, "window_size": 4},
    "hat": {
        "embed_dim": 8,
        "num_groups": 1,
        "depth": 2,
        "num_heads": 2,
        "window_size": 4,
        "compress_ratio": 2,
        "squeeze_factor": 4,
    },
}


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


SWINIR_L = {"embed_dim": 240, "num_groups": 9, "num_heads": 8, "resi_convs": 3}


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [("swinir", {}, 11_715_559), ("swinir", SWINIR_L, 28_013_059), ("hat", {}, 20_772_507)],
)
def test_transformers_have_the_official_sizes(name: str, options: dict[str, int], parameters: int) -> None:
    assert num_parameters(build_network(name, options, 4, 0)) == parameters


def discriminator_shapes() -> Shapes:
    """The keys of RealESRGAN_x4plus_netD.pth: the old spectral norm keeps `_orig`, `_u` and `_v`."""
    shapes: Shapes = {}
    conv(shapes, "conv0", 3, 64)
    sizes = [(64, 128, 4), (128, 256, 4), (256, 512, 4), (512, 256, 3), (256, 128, 3), (128, 64, 3), (64, 64, 3)]
    for number, (num_in, num_out, kernel) in enumerate([*sizes, (64, 64, 3)], start=1):
        shapes[f"conv{number}.weight_orig"] = (num_out, num_in, kernel, kernel)
        shapes[f"conv{number}.weight_u"] = (num_out,)
        shapes[f"conv{number}.weight_v"] = (num_in * kernel**2,)
    conv(shapes, "conv9", 64, 1)
    return shapes


def test_the_discriminator_is_the_official_one() -> None:
    network = UNetDiscriminator()
    assert num_parameters(network) == 4_376_897
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == discriminator_shapes()
    assert UNetDiscriminator(4)(torch.rand(2, 3, 16, 24)).shape == (2, 1, 16, 24)


def test_refreshing_finds_the_spectral_norms_and_a_pass_does_not_move_them() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # weights with two norms that are nearly equal would take more passes
        network = UNetDiscriminator(4).train()
    network.refresh(200)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network(torch.rand(1, 3, 16, 16))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    for number in range(1, 9):
        norm = torch.linalg.matrix_norm(getattr(network, f"conv{number}").weight.flatten(1), 2).item()
        assert norm == pytest.approx(1, abs=1e-3)


# ---- stochastic depth


def transformer(name: str) -> torch.nn.Module:
    """A network whose residual branches are worth something: a fresh one's are next to nothing."""
    network = build_network(name, SMALL[name], 4, 0).train()
    for layer in network.modules():
        if isinstance(layer, StochasticDepth):
            layer.probability = 0.5
        if isinstance(layer, torch.nn.Linear):
            layer.weight.data.mul_(20)
    return network


@pytest.mark.parametrize("name", ["swinir", "hat"])
def test_what_a_sample_skips_depends_on_its_key_alone(name: str) -> None:
    network, lr = transformer(name), torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    keys = [(0, "noise", ordinal) for ordinal in range(4)]

    def output(chosen: list[int]) -> torch.Tensor:
        draw_depth(network, [keys[i] for i in chosen], torch.device("cpu"))
        with torch.no_grad():
            return network(lr[chosen])

    together = output([0, 1, 2, 3])
    assert torch.allclose(output([2, 0]), together[[2, 0]], atol=1e-5)
    keys = [(0, "noise", ordinal) for ordinal in range(4, 8)]
    assert not torch.allclose(output([0, 1, 2, 3]), together, atol=1e-3)
    network.eval()
    assert torch.equal(output([0]), output([0]))


def test_branches_are_skipped_with_their_probability_and_made_up_for() -> None:
    network = build_network("swinir", {**SMALL["swinir"], "num_groups": 2}, 4, 0)
    layers = [module for module in network.modules() if isinstance(module, StochasticDepth)]
    assert [layer.probability for layer in layers] == pytest.approx([1 / 30, 2 / 30, 0.1])  # the first block has none
    draw_depth(network, [(0, "noise", i) for i in range(20_000)], torch.device("cpu"))
    for layer in layers:
        kept = 1 / (1 - layer.probability)
        assert layer.factors is not None
        assert sorted(set(layer.factors.flatten().tolist())) == pytest.approx([0, kept])
        share = (layer.factors == 0).double().mean(dim=1)
        # 40 000 draws: a deviation of 5 sigma happens by chance once in a million
        assert (share - layer.probability).abs().max() < 5 * (layer.probability / 20_000) ** 0.5
    assert not torch.equal(layers[0].factors[0], layers[0].factors[1])


# ---- files of other tools, and ours in other tools


@pytest.mark.parametrize("name", ["rrdbnet", "swinir", "hat"])
def test_what_we_save_loads_in_spandrel_and_gives_the_same_picture(name: str, tmp_path: Path) -> None:
    options = {**SMALL[name], "num_grow_ch": 32} if name == "rrdbnet" else SMALL[name]  # spandrel takes 32 for granted
    spec = NetworkSpec(name, options, 4)
    network = spec.build(0).eval()
    weights, other = network.state_dict(), spec.build(1).state_dict()
    folder = save_checkpoint(tmp_path, State(1, [1]), spec, {MODEL: other, EMA: weights}, {}, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")
        found = spandrel.ModelLoader().load_from_file(folder / "network.pth")
    lr = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert found.scale == 4
        assert torch.allclose(found.model.eval()(lr), network(lr), atol=1e-6)


@pytest.mark.parametrize("layout", ["params_ema", "params", "plain"])
@pytest.mark.parametrize("name", NETWORKS)
def test_files_in_the_official_layouts_load(name: str, layout: str, tmp_path: Path) -> None:
    weights = build_network(name, SMALL[name], 4, 5).state_dict()
    torch.save(weights if layout == "plain" else {layout: weights}, tmp_path / "net.pth")
    network = NetworkSpec(name, SMALL[name], 4).load(load_weights(tmp_path / "net.pth"), "net.pth")
    assert weights_digest(network.state_dict()) == weights_digest(weights)


def compact() -> torch.nn.Module:
    """The network of realesr-general-x4v3, which we have no module of."""
    with seeded(3):
        return Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_any_network_that_spandrel_knows_can_be_trained_from_its_file(prefix: str, tmp_path: Path) -> None:
    weights = {prefix + key: value for key, value in compact().state_dict().items()}
    torch.save({"params": weights}, tmp_path / "net.pth")
    spec = NetworkSpec("spandrel", {}, 4)
    network = spec.load(load_weights(tmp_path / "net.pth"), "net.pth")
    lr = torch.rand(1, 3, 8, 8)
    assert torch.equal(network(lr), compact()(lr))
    network(lr).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    again = spec.load(network.state_dict(), "checkpoint")  # as a resumed run does
    assert weights_digest(again.state_dict()) == weights_digest(network.state_dict())


def test_weights_that_training_leaves_out_get_no_gradients(tmp_path: Path) -> None:
    """SPAN evaluates fused convolutions and trains their parts: no process may wait for gradients of the first."""
    with seeded(3):
        span = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=4)
    network = NetworkSpec("spandrel", {}, 4).load(span.state_dict(), "net.pth")
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert all(".eval_conv." in name or name.startswith("conv_cat.eval") for name in frozen)
    lr = torch.rand(1, 3, 12, 12)
    network.train()(lr).sum().backward()
    assert all((parameter.grad is None) == (name in frozen) for name, parameter in network.named_parameters())
    mine = [parameter for parameter in network.parameters() if parameter.requires_grad]
    second, _, variance = gradient_moments((for_gradients(network)(lr * k).mean() for k in (0.5, 1.0)), mine)
    assert second > 0 < variance
    assert all(p.requires_grad for p in NetworkSpec("spandrel", {}, 4).load(compact().state_dict(), "x").parameters())


def test_a_file_that_spandrel_does_not_know_is_refused() -> None:
    spec = NetworkSpec("spandrel", {}, 4)
    with pytest.raises(RunError, match=r"x\.pth: no network that spandrel knows has the weights of this file"):
        spec.load({"a": torch.zeros(1)}, "x.pth")
    with pytest.raises(UsageError, match="upscales by 4, not by 2"):
        NetworkSpec("spandrel", {}, 2).load(compact().state_dict(), "x.pth")
    with pytest.raises(UsageError, match=r"unknown network .*or spandrel with a file"):
        spec.build()


def test_every_network_is_covered_here() -> None:
    assert set(SMALL) == set(NETWORKS)


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, scale) for name, scales in SCALES.items() for scale in scales],
)
def test_the_output_is_scale_times_as_large(name: str, scale: int) -> None:
    output = build_network(name, SMALL[name], scale, 0)(torch.rand(2, 3, 12, 8))
    assert output.shape == (2, 3, 12 * scale, 8 * scale)


def test_msrresnet_begins_close_to_bilinear_enlargement() -> None:
    lr = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    upscaled = torch.nn.functional.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
    assert (build_network("msrresnet", {}, 4, 0)(lr) - upscaled).abs().max() < 0.01


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
        (
            "srcnn",
            {},
            4,
            "unknown network 'srcnn': choose one of msrresnet, rrdbnet, swinir, hat, or spandrel with a file",
        ),
        ("msrresnet", {"num_grow_ch": 8}, 4, "unknown network option 'num_grow_ch': msrresnet has num_block, num_feat"),
        ("msrresnet", {"scale": 2}, 4, "unknown network option 'scale'"),
        ("msrresnet", {"num_feat": 0}, 4, "network option num_feat is 0: it must be at least 1"),
        ("rrdbnet", {"num_block": -1}, 4, "network option num_block is -1: it must be at least 1"),
        ("msrresnet", {}, 8, "scale is 8: msrresnet upscales by 2, 3 or 4"),
        ("rrdbnet", {}, 3, "scale is 3: rrdbnet upscales by 1, 2 or 4"),
        ("swinir", {}, 3, "scale is 3: swinir upscales by 2, 4 or 8"),
        ("hat", {}, 8, "scale is 8: hat upscales by 2, 3 or 4"),
        ("swinir", {"embed_dim": 16}, 4, "embed_dim is 16: it must be a multiple of num_heads 6"),
        ("hat", {"embed_dim": 24}, 4, "embed_dim is 24: it must be at least 30, the larger of compress_ratio and"),
        ("swinir", {"resi_convs": 2}, 4, "resi_convs is 2: it must be 1 or 3"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, int], scale: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_network(name, options, scale, 0)

"""Files of weights in all their layouts fill a network or are refused by name; none of them runs code."""

import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import RunError, UsageError
from train.networks.weights import NetworkSpec, fill, load_weights, read_spec, weights_digest

SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)


@cache
def weights(seed: int) -> dict[str, torch.Tensor]:
    return SPEC.build(seed).state_dict()


def prefixed(prefix: str, content: dict) -> dict:
    return {f"{prefix}{key}": value for key, value in content.items()}


LAYOUTS: dict[str, Callable[[dict, dict], object]] = {
    "plain": lambda good, other: good,
    "params_ema": lambda good, other: {"params_ema": good},
    "params_ema before params": lambda good, other: {"params": other, "params_ema": good},
    "Lightning": lambda good, other: {"epoch": 3, "state_dict": good},
    "model": lambda good, other: {"iter": 3, "model": good, "optimizer": {}},
    "net of params": lambda good, other: {"net": {"params": good}},
    "module.": lambda good, other: prefixed("module.", good),
    "_orig_mod.module.": lambda good, other: prefixed("_orig_mod.module.", good),
    "generator.": lambda good, other: {"state_dict": prefixed("generator.", good) | prefixed("discriminator.", other)},
    "netG.": lambda good, other: prefixed("netG.module.", good),
    "netG": lambda good, other: {"netG": good, "netD": other},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads(tmp_path: Path, layout: str) -> None:
    good = weights(1)
    torch.save(LAYOUTS[layout](good, weights(2)), tmp_path / "net.pth")
    network = SPEC.build(3)
    fill(network, load_weights(tmp_path / "net.pth"), "net.pth")
    assert weights_digest(network.state_dict()) == weights_digest(good)


def test_of_a_gan_in_one_file_the_discriminator_can_be_asked_for(tmp_path: Path) -> None:
    content = prefixed("netG.", weights(1)) | prefixed("netD.module.", weights(2))
    torch.save({"state_dict": content}, tmp_path / "gan.ckpt")
    found = load_weights(tmp_path / "gan.ckpt", "discriminator")
    assert weights_digest(found) == weights_digest(weights(2))


def test_a_network_whose_own_keys_begin_alike_keeps_them(tmp_path: Path) -> None:
    torch.save({"model.0.weight": torch.zeros(2), "model.1.weight": torch.zeros(2)}, tmp_path / "esrgan.pth")
    assert set(load_weights(tmp_path / "esrgan.pth")) == {"model.0.weight", "model.1.weight"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    half = {key: value.to(dtype) for key, value in weights(1).items()}
    torch.save({"params": half}, tmp_path / "net.pth")
    save_file(half, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        assert weights_digest(load_weights(tmp_path / name)) == weights_digest({k: v.float() for k, v in half.items()})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "name no network of this program: Expecting"),
        ("[]", r"fields are \[\]: they must be an object"),
        ('{"name": "msrresnet", "options": {"num_feat": "4"}, "scale": 4}', "'num_feat' is '4': it must be int"),
    ],
)
def test_metadata_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    save_file(weights(1), tmp_path / "net.safetensors", {"network": text})
    with pytest.raises(RunError, match=message):
        read_spec(tmp_path / "net.safetensors")


def test_training_begins_from_what_fits_and_says_what_does_not() -> None:
    x4 = weights(1)
    network, notes = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 2).begin(x4, "net.pth", 5)
    assert torch.equal(network.state_dict()["conv_last.weight"], x4["conv_last.weight"])
    assert notes == ["net.pth fills 12 of 12 tensors, 100.0% of the network; not used are upconv2"]
    deeper, notes = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 2}, 4).begin(x4, "net.pth", 5)
    assert torch.equal(deeper.state_dict()["body.0.conv1.weight"], x4["body.0.conv1.weight"])
    assert notes == ["net.pth fills 14 of 18 tensors, 86.2% of the network; at random begin body.1.conv1, body.1.conv2"]


def test_a_file_that_fills_less_than_half_is_refused() -> None:
    with pytest.raises(RunError, match=r"; of equal name and shape are 1 of 14 tensors, 0\.0% of the network"):
        NetworkSpec("msrresnet", {"num_feat": 16, "num_block": 1}, 4).begin(weights(1), "net.pth", 5)
    assert SPEC.begin(weights(1), "net.pth", 5)[1] == []


def test_safetensors_load(tmp_path: Path) -> None:
    save_file(weights(1), tmp_path / "net.safetensors")
    assert weights_digest(load_weights(tmp_path / "net.safetensors")) == weights_digest(weights(1))
    assert read_spec(tmp_path / "net.safetensors") is None


def with_key_renamed(content: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.replace("conv_last.bias", "conv_final.bias"): value for key, value in content.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_key_renamed, "net.pth does not fit the network: key 'conv_final.bias' is unknown"),
        (lambda w: {k: v for k, v in w.items() if k != "upconv1.weight"}, "key 'upconv1.weight' is not in the file"),
        (
            lambda w: {**w, "conv_hr.weight": torch.zeros(4, 8, 3, 3)},
            r"'conv_hr.weight' is \(4, 8, 3, 3\) in the file, \(4, 4, 3, 3\) in the network",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_key_or_shape(change: Callable, message: str) -> None:
    network = SPEC.build(0)
    before = weights_digest(network.state_dict())
    with pytest.raises(RunError, match=message):
        fill(network, change(weights(1)), "net.pth")
    assert weights_digest(network.state_dict()) == before


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path: Path, write: Callable) -> None:
    write(
        {"params": {"conv_first.weight": torch.zeros(1), "x": Malicious(tmp_path / "executed")}}, tmp_path / "net.pth"
    )
    with pytest.raises(RunError, match="without running code"):
        load_weights(tmp_path / "net.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x80\x04.", b"PK\x03\x04" + bytes(60), bytes(range(256)), b"<html>not found</html>"]
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"not a weights file|holds no tensors"):
        load_weights(path)


def test_a_truncated_weights_file_is_refused(tmp_path: Path) -> None:
    torch.save({"params": weights(1), "params_ema": weights(2)}, tmp_path / "net.pth")
    whole = (tmp_path / "net.pth").read_bytes()
    for length in range(1, len(whole), len(whole) // 25):
        (tmp_path / "net.pth").write_bytes(whole[:length])
        with pytest.raises(RunError):
            load_weights(tmp_path / "net.pth")


def test_plain_values_are_no_weights(tmp_path: Path) -> None:
    torch.save({"params": {"a": 1}}, tmp_path / "net.pth")
    with pytest.raises(RunError, match="holds no tensors under params_ema, params, state_dict, model, net or at its"):
        load_weights(tmp_path / "net.pth")


def test_a_weights_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no weights file .*none\.pth"):
        load_weights(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("msrresnet", {"num_feat": 1_000_000, "num_block": 1}),
        ("msrresnet", {"num_feat": 4, "num_block": 1_000_000_000}),
        ("rrdbnet", {"num_feat": 4, "num_block": 1, "num_grow_ch": 1_000_000}),
        ("swinir", {"embed_dim": 12, "num_groups": 10_000, "depth": 10_000}),
        ("hat", {"embed_dim": 12, "window_size": 1_000_000}),
    ],
)
def test_options_that_claim_more_than_the_tensors_hold_build_nothing(
    name: str, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def built(*_: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr("train.networks.weights.build_network", built)
    with pytest.raises(RunError, match=r"net\.safetensors does not fit the network: .* values, the file holds 1,"):
        NetworkSpec(name, options, 4).load(weights(1), "net.safetensors")


@pytest.mark.parametrize("text", ["no json", "[]", '{"name": "msrresnet"}', '{"name": 1, "options": {}, "scale": 4}'])
def test_metadata_of_another_shape_are_refused_in_words(text: str, tmp_path: Path) -> None:
    save_file(weights(1), tmp_path / "net.safetensors", {"network": text})
    with pytest.raises(RunError, match=r"net\.safetensors: its metadata name no network"):
        read_spec(tmp_path / "net.safetensors")

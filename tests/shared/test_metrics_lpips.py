"""LPIPS from backbone files on this machine: the layout that torchvision publishes, never a download."""

import warnings
from pathlib import Path

import lpips
import pytest
import torch

from shared.errors import RunError, UsageError
from shared.metrics_lpips import BACKBONES, Lpips

VGG_CONVS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
VGG_CONVS |= {17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that backbone files are looked for in, empty; a download would need a network that is refused."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("tried to download"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 64, 64, generator=generator), torch.rand(2, 3, 64, 64, generator=generator)


def write(checkpoints: Path, net: str, features: dict[str, torch.Tensor]) -> None:
    torch.save({**features, "classifier.6.bias": torch.zeros(1000)}, checkpoints / BACKBONES[net])


def test_alexnet_is_lpips_own_network_with_the_files_backbone(checkpoints, pictures):
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    trunk = original.net.state_dict()
    write(checkpoints, "alex", {f"features.{key.split('.', 1)[1]}": value for key, value in trunk.items()})
    expected = original(*pictures, normalize=True).flatten()
    assert torch.equal(Lpips("alex")(*pictures), expected)


def test_vgg_is_a_distance(checkpoints, pictures):
    generator = torch.Generator().manual_seed(0)
    features = {}
    for layer, (num_out, num_in) in VGG_CONVS.items():
        deviation = (2 / (9 * num_in)) ** 0.5
        features[f"features.{layer}.weight"] = torch.randn(num_out, num_in, 3, 3, generator=generator) * deviation
        features[f"features.{layer}.bias"] = torch.zeros(num_out)
    write(checkpoints, "vgg", features)
    a, b = pictures
    distance = Lpips("vgg")
    assert distance(a, a).tolist() == [0, 0]
    near, far = distance(a, a.lerp(b, 0.1)), distance(a, b)
    assert (near > 0).all()
    assert (near < far).all()
    assert distance(b, a).tolist() == pytest.approx(far.tolist(), rel=1e-5)


@pytest.mark.parametrize("net", BACKBONES)
def test_a_missing_file_is_named_with_its_place(net, checkpoints):
    with pytest.raises(UsageError, match=f"no file {checkpoints}/{BACKBONES[net]}: fetch it from https://"):
        Lpips(net)


def test_another_file_under_that_name_is_refused(checkpoints):
    write(checkpoints, "alex", {"features.0.weight": torch.zeros(64, 3, 11, 11)})
    with pytest.raises(RunError, match=r"alexnet-owt-7be5be79.pth has no 'features\.\d+\."):
        Lpips("alex")
    (checkpoints / BACKBONES["alex"]).write_bytes(b"not a weights file")
    with pytest.raises(RunError, match="not a weights file"):
        Lpips("alex")


def test_an_unknown_network_is_refused():
    with pytest.raises(UsageError, match="unknown LPIPS network 'squeeze': choose one of vgg, alex"):
        Lpips("squeeze")

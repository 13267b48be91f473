"""`train.interpolate`: weights between those of two networks, in either format."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import run_command
from train.interpolate import main as interpolate
from train.networks.weights import NetworkSpec, load_weights, read_spec

SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)
NAMED = {"network": '{"name": "msrresnet", "options": {"num_feat": 4, "num_block": 1}, "scale": 4}'}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    save_file(SPEC.build(1).state_dict(), tmp_path / "a.safetensors", NAMED)
    torch.save({"params_ema": SPEC.build(2).state_dict()}, tmp_path / "b.pth")
    return [str(tmp_path / "a.safetensors"), str(tmp_path / "b.pth")]


@pytest.mark.parametrize("name", ["c.safetensors", "c.pth"])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_weights_lie_between(files: list[str], name: str, alpha: float, tmp_path: Path) -> None:
    assert run_command(interpolate, [*files, "--alpha", str(alpha), "--out", str(tmp_path / name)]) == 0
    a, b, c = (load_weights(Path(path)) for path in (*files, tmp_path / name))
    for key, value in c.items():
        assert torch.allclose(value, (1 - alpha) * a[key] + alpha * b[key], atol=1e-7)
    assert read_spec(tmp_path / name) == (SPEC if name.endswith("safetensors") else None)


def test_networks_of_different_kinds_are_refused(files: list[str], tmp_path: Path, capsys) -> None:
    torch.save(NetworkSpec("msrresnet", {"num_feat": 8, "num_block": 1}, 4).build(1).state_dict(), tmp_path / "w.pth")
    assert run_command(interpolate, [files[0], str(tmp_path / "w.pth"), "--out", str(tmp_path / "c.pth")]) == 1
    assert "are not of one network: 'body.0.conv1.bias' is (4,) and (8,)" in capsys.readouterr().err

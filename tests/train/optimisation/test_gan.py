"""The GAN stage as a person runs it: two networks, exact resume, several processes, and the files it wants."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from gen.render import main as render
from shared.errors import RunError, UsageError
from tests.train.command import flags, run, start_ranks, succeed
from tests.train.records import final_weights, metrics, require_same_run
from train.networks.build import seeded
from train.networks.discriminator import UNetDiscriminator
from train.networks.weights import load_weights, weights_digest
from train.optimisation.losses import VGG19, Perceptual
from train.record.state import latest_checkpoint


@pytest.fixture(scope="module")
def sharp_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks whose LR is made from sharpened HR, as Real-ESRGAN's; sides are multiples of 8."""
    folder = tmp_path_factory.mktemp("sharp")
    for task in ("mild", "noise"):
        for split, extra in (("train", ["--usm"]), ("val", [])):
            sizes = ["--patch", "80", "--count", "8", "--rows-per-shard", "8", "--workers", "1"]
            render(["--subspace", task, "--split", split, "--out", str(folder), *sizes, *extra])
    return folder


def gan_flags(shards: Path, **changes: Any) -> list[str]:
    values = {
        "stage": "gan",
        "gan.perceptual": 0,
        "gan.num_feat": 2,
        "policy": "uniform",
        "iterations": 6,
        "interval_steps": 3,
        "lr": 0.001,
        "shards": shards,
        "run": "run",
    }
    return flags(**{**values, **changes})


@pytest.fixture(scope="module")
def whole_gan(sharp_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole-gan")
    succeed(gan_flags(sharp_shards), folder)
    return folder / "run"


def critics(run_folder: Path) -> list[str]:
    """Hashes of the last checkpoint's discriminator, for us and for other tools."""
    folder = latest_checkpoint(run_folder)
    return [weights_digest(load_weights(folder / f"discriminator.{kind}")) for kind in ("safetensors", "pth")]


def test_both_losses_are_logged_and_both_networks_saved(whole_gan: Path) -> None:
    lines = metrics(whole_gan)
    assert len(lines) == 6
    for line in lines:
        assert 0.05 < line["loss"] < 1
        assert 0.5 < line["discriminator_loss"] < 3  # 2 log 2 = 1.39 for a guess
    ours, others = critics(whole_gan)
    assert ours == others
    keys = set(load_weights(latest_checkpoint(whole_gan) / "discriminator.pth"))
    assert keys == set(UNetDiscriminator(2).state_dict())
    optimizers = torch.load(latest_checkpoint(whole_gan) / "optimizer.pt", weights_only=True)
    assert sorted(optimizers) == ["discriminator", "generator"]


def test_references_of_a_gan_run_have_its_stage_or_another_that_is_asked_for(
    sharp_shards: Path, tmp_path: Path
) -> None:
    """References that a run of stage psnr would train serve a GAN run that asks for them, and no other."""
    succeed(gan_flags(sharp_shards, stage="psnr", mode="references", references="l1"), tmp_path)
    named = {"policy": "rebalance", "references": "l1"}
    outcome = run(gan_flags(sharp_shards, **named), tmp_path)
    assert outcome.code in (1, 2)
    assert "was trained with stage = 'psnr', this run has 'gan'" in outcome.errors[0]
    outcome = succeed(gan_flags(sharp_shards, **named, reference_stage="psnr"), tmp_path)
    assert "to train: 1 networks" in outcome.stdout
    assert len(critics(tmp_path / "run")) == 2
    outcome = run(gan_flags(sharp_shards, **named), tmp_path)
    assert "was begun with reference_stage = 'psnr', now it is None" in outcome.errors[0]


@pytest.mark.parametrize(("number", "steps"), [(signal.SIGTERM, 2), (signal.SIGKILL, 5)])
def test_a_gan_goes_on_exactly(
    sharp_shards: Path, whole_gan: Path, tmp_path: Path, number: signal.Signals, steps: int
) -> None:
    argv = gan_flags(sharp_shards)
    run(argv, tmp_path, signal_after=(number, steps))
    succeed(argv, tmp_path)
    require_same_run(tmp_path / "run", whole_gan)
    assert critics(tmp_path / "run") == critics(whole_gan)


def test_two_processes_train_both_networks_as_one_does(sharp_shards: Path, whole_gan: Path, tmp_path: Path) -> None:
    ranks = start_ranks(gan_flags(sharp_shards), tmp_path)
    outcomes = [rank.wait() for rank in ranks]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(whole_gan), strict=True):
        assert mine["counts"] == theirs["counts"]
        for name in ("loss", "discriminator_loss"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)
    mine, theirs = (
        load_weights(latest_checkpoint(folder) / "discriminator.pth") for folder in (tmp_path / "run", whole_gan)
    )
    assert all(torch.allclose(mine[key], theirs[key], atol=1e-4) for key in theirs)


def test_parts_of_a_batch_in_two_processes_change_nothing(sharp_shards: Path, whole_gan: Path, tmp_path: Path) -> None:
    ranks = start_ranks([*gan_flags(sharp_shards), "--accumulate", "2"], tmp_path)
    assert [rank.wait().code for rank in ranks] == [0, 0]
    for mine, theirs in zip(metrics(tmp_path / "run"), metrics(whole_gan), strict=True):
        for name in ("loss", "discriminator_loss"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-4)


def test_the_discriminator_starts_from_a_file(sharp_shards: Path, whole_gan: Path, tmp_path: Path) -> None:
    file = latest_checkpoint(whole_gan) / "discriminator.pth"
    argv = gan_flags(sharp_shards, iterations=3)
    succeed([*argv, "--init-discriminator", str(file)], tmp_path)
    lines = metrics(tmp_path / "run")
    assert lines[0]["discriminator_loss"] != metrics(whole_gan)[0]["discriminator_loss"]
    assert final_weights(tmp_path / "run") != final_weights(whole_gan)
    torch.save({"params": {"conv0.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    outcome = run([*argv, "--run", "other", "--init-discriminator", "other.pth"], tmp_path)
    assert (outcome.code, len(outcome.errors)) == (1, 1)
    assert "other.pth does not fit the network: key 'conv0.bias' is not in the file" in outcome.errors[0]


def test_a_patch_that_the_discriminator_cannot_halve_is_refused(shards: Path, tmp_path: Path) -> None:
    outcome = run(gan_flags(shards), tmp_path)
    assert outcome.code == 2
    (error,) = outcome.errors
    assert error.startswith("error: the patches are 76 pixels: the discriminator")
    assert error.endswith("render multiples of 8")


# ---- VGG19


@pytest.fixture(scope="module")
def vgg19(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's, with weights at random that keep features alive, without the classifier."""
    with seeded(0):
        network = torchvision.models.vgg19(weights=None, num_classes=1)
    weights = {key: value for key, value in network.state_dict().items() if key.startswith("features.")}
    path = tmp_path_factory.mktemp("hub") / VGG19
    torch.save(weights, path)
    return path


def test_the_perceptual_loss_compares_features_before_their_activation(vgg19: Path) -> None:
    features = torchvision.models.vgg19(weights=None, num_classes=1).features
    features.load_state_dict({k.removeprefix("features."): v for k, v in load_weights(vgg19).items()})
    for module in features:
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = torch.zeros(2)
    with torch.no_grad():
        for place, module in enumerate(features):
            x = module(x)
            weight = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}.get(place, 0)
            expected += weight * (x[:2] - x[2:]).abs().mean(dim=(1, 2, 3))
        found = Perceptual(str(vgg19))(images[:2], images[2:])
    assert torch.allclose(found, expected, rtol=1e-4)
    assert (found > 0).all()


def test_the_perceptual_loss_trains_the_output_alone(vgg19: Path) -> None:
    loss, images = Perceptual(str(vgg19)), torch.rand(2, 3, 16, 16)
    output, target = (images[i : i + 1].clone().requires_grad_() for i in (0, 1))
    loss(output, target).sum().backward()
    assert output.grad is not None
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_the_whole_gan_stage_runs_with_vgg19_found_in_torchs_hub_folder(
    sharp_shards: Path, vgg19: Path, tmp_path: Path
) -> None:
    argv = gan_flags(sharp_shards, iterations=2, interval_steps=2, batch_size=2, **{"gan.perceptual": None})
    outcome = run(argv, tmp_path, env={"TORCH_HOME": str(tmp_path)})
    assert outcome.code == 2
    (error,) = outcome.errors
    place = tmp_path / "hub/checkpoints" / VGG19
    assert error.endswith(
        f"{VGG19}, and {place} is not there: put it there, or give --vgg19 FILE, or do without it (--gan.perceptual 0)"
    )
    place.parent.mkdir(parents=True)
    place.symlink_to(vgg19)
    succeed(argv, tmp_path, env={"TORCH_HOME": str(tmp_path)})
    assert len(metrics(tmp_path / "run")) == 2


def test_another_file_is_not_vgg19(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(RunError, match=r"x\.pth is not torchvision's VGG19: features\.0\.weight is missing or misfits"):
        Perceptual(str(tmp_path / "x.pth"))
    with pytest.raises(UsageError, match=r"none\.pth is not there"):
        Perceptual(str(tmp_path / "none.pth"))

"""The recipes, read as the command reads them: the papers' numbers, and commands that work as they stand."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import gen.render
from shared.config import parse
from tests.train.command import run
from train.networks.build import build_network, num_parameters
from train.networks.discriminator import UNetDiscriminator
from train.optimisation.losses import LAYER_WEIGHTS, VGG19
from train.session import repeats
from train.settings import GANSettings, TrainSettings

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
NAMES = ["realesrnet", "realesrgan", "realsrgan", "realswinir", "realhat"]
PARAMETERS = {
    "realesrnet": 16_697_987,
    "realesrgan": 16_697_987,
    "realsrgan": 1_517_571,
    "realswinir": 11_715_559,
    "realhat": 20_772_507,
}
SWINIR_L = 28_013_059


def read(*argv: str) -> TrainSettings:
    return parse(TrainSettings, list(argv), "train/run.py", "")


def recipe(name: str) -> TrainSettings:
    return read("--config", str(RECIPES / f"{name}.yaml"))


def head(name: str) -> str:
    """The comment that a recipe begins with."""
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def commands(name: str) -> list[list[str]]:
    """The commands in a recipe's head, as words."""
    text = head(name).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if re.match(r"(python|accelerate) ", line)]


def test_there_is_a_recipe_for_every_network_and_for_the_demo() -> None:
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == sorted([*NAMES, "demo", "paper"])
    assert recipe("demo").network.name == "msrresnet"


def test_the_papers_run_is_what_it_states_from_the_released_realesrnet() -> None:
    settings, same = recipe("paper"), recipe("realesrgan")
    assert (settings.policy, settings.stage, settings.network) == ("rebalance", "gan", same.network)
    assert (settings.iterations, settings.interval_steps, settings.batch_size) == (400_000, 5_000, 48)
    assert (settings.lr, settings.ema, settings.gan) == (same.lr, same.ema, same.gan)
    assert settings.init == "weights/RealESRNet_x4plus.pth"
    (launch,) = (words for words in commands("paper") if words[0] == "accelerate")
    assert launch[2:5] == ["--multi_gpu", "--num_processes", "8"]
    assert read(*launch[6:]) == settings


def test_without_options_the_first_line_says_what_is_trained_and_where_the_papers_run_is(tmp_path: Path) -> None:
    outcome = run([], tmp_path)
    assert outcome.code == 1  # there are no shards
    first = outcome.stdout.splitlines()[0]
    assert "network msrresnet with 1.5 million parameters, policy rebalance, stage psnr" in first
    assert "--config train/recipes/paper.yaml" in first
    network = read().network
    assert num_parameters(build_network(network.name, network.options, 4, 0)) == PARAMETERS["realsrgan"]


def test_the_announcement_says_how_often_rows_repeat() -> None:
    tasks = [SimpleNamespace(num_rows=20_000)] * 4
    assert repeats(recipe("paper"), tasks) == (
        "a stored row is shown up to 960 times to a reference, 240 times at equal volumes; after 10 times samples are "
        "made on the fly (max_repeats)"
    )
    assert repeats(read("--source", "fly"), tasks) == ""


@pytest.mark.parametrize("name", [*NAMES, "paper"])
def test_stored_rows_are_not_repeated_hundreds_of_times(name: str) -> None:
    assert recipe(name).max_repeats == 10


@pytest.mark.parametrize("name", NAMES)
def test_the_network_has_the_official_size(name: str) -> None:
    network = recipe(name).network
    assert num_parameters(build_network(network.name, network.options, 4, 0)) == PARAMETERS[name]


def test_the_first_stage_is_that_of_real_esrgan() -> None:
    settings = recipe("realesrnet")
    assert (settings.stage, settings.policy, settings.init) == ("psnr", "uniform", None)
    assert (settings.iterations, settings.batch_size, settings.lr, settings.ema) == (1_000_000, 48, 2e-4, 0.999)


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_gan_stage_is_that_of_real_esrgan_under_the_papers_policy(name: str) -> None:
    settings = recipe(name)
    assert (settings.stage, settings.policy, settings.mode) == ("gan", "rebalance", "shared")
    assert (settings.iterations, settings.interval_steps, settings.batch_size) == (400_000, 5_000, 48)
    assert (settings.lr, settings.ema) == (1e-4, 0.999)
    assert settings.gan == GANSettings(l1=1.0, perceptual=1.0, adversarial=0.1, num_feat=64)
    assert list(LAYER_WEIGHTS.values()) == [0.1, 0.1, 1, 1, 1]
    assert num_parameters(UNetDiscriminator(settings.gan.num_feat)) == 4_376_897
    assert settings.init is not None
    assert settings.init.startswith("runs/")


@pytest.mark.parametrize("name", NAMES)
def test_the_head_says_what_a_reader_asks(name: str) -> None:
    text = head(name)
    assert "Paper:" in text
    assert re.search(r"[Ee]stimated, not run: \d+ TFLOP a step", text)
    assert re.search(r"\d+ h\b", text)
    assert "To supply:" in text
    if name != "realesrnet":
        assert VGG19 in text


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_in_the_head_can_be_given(name: str) -> None:
    found = commands(name)
    assert found[-1] == ["accelerate", "launch", "train/run.py", "--config", f"train/recipes/{name}.yaml"]
    for words in found:
        if words[0] == "python":
            assert words[:3] == ["python", "-m", "gen.render"]
            assert parse(gen.render.RenderSettings, words[3:], "", "").subspace == "all"
        else:
            assert read(*words[3:]).batch_size == 48


@pytest.mark.parametrize("name", ["realsrgan", "realswinir", "realhat"])
def test_the_first_stage_of_the_other_networks_ends_where_their_gan_stage_begins(name: str) -> None:
    settings = [read(*words[3:]) for words in commands(name)]
    (first,) = (each for each in settings if each.stage == "psnr")
    assert (first.policy, first.init, first.run) == ("uniform", None, recipe(name).init)
    assert (first.iterations, first.lr) == (1_000_000, 1e-4 if name == "realhat" else 2e-4)
    assert first.network == recipe(name).network


def test_the_large_swinir_is_a_command_away() -> None:
    (large,) = (
        settings
        for words in commands("realswinir")
        if (settings := read(*words[3:])).network.options["embed_dim"] == 240
    )
    network = large.network
    assert num_parameters(build_network(network.name, network.options, 4, 0)) == SWINIR_L
    assert (large.stage, large.run, large.init) == ("gan", "runs/realswinir-l", "runs/realswinirnet-l")

"""Datasets and test sets of a space from a file: everything is in the recipe, and the file is needed only once."""

import json
from pathlib import Path

import pytest
import yaml

import gen.render
import gen.testset
import gen.verify
from gen.dataset import DatasetPlan
from gen.engines.slurm import read_todo, write_todo
from gen.recipe import Recipe
from gen.specs import ShardSpec
from shared.degradation.definition import to_definition
from shared.degradation.partition import get_subspace
from shared.degradation.plan import Plan
from shared.degradation.presets import get_space
from shared.degradation.space_file import find_space
from shared.degradation.validation import violations
from shared.errors import UsageError, run_command
from shared.mixing.tasks import find_tasks
from shared.shards.manifest import load_manifest
from shared.shards.reader import Dataset
from shared.shards.testset import load_testset
from tests.gen.conftest import SMALL
from tests.shared.degradation.option_files import REALESRGAN, changed


@pytest.fixture
def file(tmp_path) -> Path:
    """`paper` with more noise, and its own partition."""
    values = to_definition(get_space("paper"))
    values["noise1"]["gaussian_sigma_255"] = [10.0, 20.0]
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump({"partition": "noise:2", **values}))
    return path


@pytest.fixture
def make(hr, tmp_path):
    """make(*options) renders into tmp_path/shards and gives that folder."""

    def run(*options: str) -> Path:
        out = tmp_path / "shards"
        assert gen.render.main(["--hr", str(hr), "--out", str(out), "--count", "6", *SMALL, *options]) == 0
        return out

    return run


def test_shards_are_verified_and_rendered_again_without_the_file(file, make, capsys):
    space = find_space(str(file))
    out = make("--space", str(file))
    file.unlink()
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["noise0", "noise1"]
    assert gen.verify.main([str(out), "--rerender", "6"]) == 0
    assert "6 rows again: 6 equal" in capsys.readouterr().out
    recipe = load_manifest(out / "noise1").recipe
    assert (recipe["space"], recipe["partition"]) == (space.name, "noise:2")
    assert recipe["definition"] == to_definition(space)
    box = get_subspace(space, "noise:2", "noise1")
    rows = [pair.row for pair in Dataset(out / "noise1")]
    assert {row.space for row in rows} == {space.name}
    plans = [Plan.from_json(row.plan) for row in rows]
    assert not any(violations(plan, box) for plan in plans)
    levels = [plan.noise1.level for plan in plans if plan.noise1.kind == "gaussian"]
    assert levels
    assert min(levels) >= 15


def test_a_file_of_equal_numbers_is_the_built_in_space_with_its_name_and_digest(tmp_path, make):
    file = tmp_path / "train_realesrgan_x4plus.yml"
    file.write_text(yaml.safe_dump(REALESRGAN))
    tars = {path.name: path.read_bytes() for path in make("--space", str(file)).glob("full/*.tar")}
    assert load_manifest(tmp_path / "shards" / "full").recipe["space"] == "realesrgan"
    assert "definition" not in load_manifest(tmp_path / "shards" / "full").recipe
    again = make("--space", "realesrgan")  # the same command, so there is nothing to do
    assert {path.name: path.read_bytes() for path in again.glob("full/*.tar")} == tars


def test_another_file_is_another_dataset_and_differences_are_named(file, make):
    make("--space", str(file))
    values = yaml.safe_load(file.read_text())
    values["noise1"]["gaussian_sigma_255"] = [10.0, 21.0]
    name = find_space(str(file)).name
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(UsageError, match=rf"another recipe \(space: {name} -> file-[0-9a-f]{{12}}\)"):
        make("--space", str(file))


def test_a_wrong_file_is_refused_before_a_picture_is_read(file, tmp_path, capsys):
    file.write_text(file.read_text().replace("sigma:", "sgima:", 1))
    command = ["--space", str(file), "--hr", str(tmp_path / "nowhere")]
    assert run_command(gen.render.main, command) == 2
    assert "my.yaml: unknown key 'blur1.sgima': did you mean blur1.sigma?" in capsys.readouterr().err


def test_a_manifest_whose_definition_was_changed_is_found_out(file, make, capsys):
    folder = make("--space", str(file)) / "noise0"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["recipe"]["definition"]["noise1"]["gaussian_sigma_255"] = [0.0, 255.0]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run_command(gen.verify.main, [str(folder)]) == 1
    assert "its definition is that of file-" in capsys.readouterr().out


def test_a_definition_with_images_too_small_for_their_kernels_is_refused(file, hr):
    values = to_definition(get_space("realesrgan"))
    values["resize1"]["factor"] = [0.05, 1.5]
    file.write_text(yaml.safe_dump(values))
    space = find_space(str(file))
    definition = json.dumps(to_definition(space))
    with pytest.raises(UsageError, match="patch is 216: it must be at least 220 and a multiple of the scale 4"):
        Recipe(space.name, "full", "full", "train", "", patch=216, definition=definition)
    assert Recipe(space.name, "full", "full", "train", "", patch=220, definition=definition).box().space == space.name


def test_recipes_survive_the_plan_of_a_folder_and_the_todo_list_of_slurm(file, make):
    folder = make("--space", str(file)) / "noise0"
    plan = DatasetPlan.load(folder)
    assert plan.recipe.to_dict() == load_manifest(folder).recipe
    assert plan.recipe.digest() == load_manifest(folder).digest
    spec = ShardSpec(str(folder), plan.recipe, (), 0, 4)
    assert read_todo(write_todo([spec])) == [spec]
    assert yaml.safe_load((folder / "config.yaml").read_text())["definition"] == to_definition(find_space(str(file)))


def test_a_test_set_of_a_file_resumes_and_holds_the_definition(file, hr, tmp_path):
    command = ["--space", str(file), "--hr", str(hr), "--out", str(tmp_path / "set"), "--workers", "1"]
    assert gen.testset.main(command) == 0
    record = load_testset(tmp_path / "set")
    assert record.tasks == ["noise0", "noise1"]
    assert record.recipe["definition"] == to_definition(find_space(str(file)))
    assert gen.testset.main(command) == 0
    file.write_text(yaml.safe_dump(changed(REALESRGAN, "noise_range", [1, 2])))
    with pytest.raises(UsageError, match=r"holds another test set .*space: file-"):
        gen.testset.main(command)


def test_the_trainer_draws_plans_on_the_fly_from_the_definition(file, make):
    out = make("--space", str(file), "--split", "val")
    space = find_space(str(file))
    file.unlink()
    for task in find_tasks(out, on_the_fly=True):
        box = get_subspace(space, "noise:2", task.name)
        plans = [task.plans.draw(0, ordinal, 76, 4) for ordinal in range(50)]
        assert not any(violations(plan, box) for plan in plans)

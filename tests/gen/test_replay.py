"""`gen.render --config DATASET/config.yaml` renders a dataset again; test sets can be checked and looked at."""

import shutil

import pytest

import gen.preview
import gen.render
import gen.testset
import gen.verify
from shared.errors import UsageError, run_command
from shared.images import decode, encode_png


@pytest.mark.parametrize("joined", [False, True])
def test_a_dataset_is_rendered_again_from_its_own_configuration(joined, rendered, hr, contents, tmp_path):
    config = str(rendered / "config.yaml")
    words = [f"--config={config}"] if joined else ["--config", config]
    assert gen.render.main(["--hr", str(hr), *words, "--out", str(tmp_path), "--workers", "1"]) == 0
    assert contents(tmp_path / "noise") == contents(rendered)


def test_a_part_and_a_space_from_a_file_are_rendered_again(hr, contents, tmp_path, capsys):
    import gen.space

    gen.space.main(["paper"])
    text = capsys.readouterr().out
    (tmp_path / "my.yaml").write_text(text.replace("sigma: [1.6, 3.0]", "sigma: [1.7, 3.0]"))
    options = ["--hr", str(hr), "--patch", "76", "--rows-per-shard", "2", "--workers", "1"]
    mine = ["--space", str(tmp_path / "my.yaml"), "--subspace", "noise", "--rows", "4:7"]
    assert gen.render.main([*options, *mine, "--out", str(tmp_path / "first")]) == 0
    assert "space: file-" in (tmp_path / "first" / "noise" / "config.yaml").read_text()
    (tmp_path / "my.yaml").unlink()
    config = str(tmp_path / "first" / "noise" / "config.yaml")
    assert gen.render.main(["--hr", str(hr), "--workers", "1", "--config", config, "--out", str(tmp_path / "b")]) == 0
    assert contents(tmp_path / "b" / "noise") == contents(tmp_path / "first" / "noise")


def test_other_images_are_no_replay(rendered, picture, tmp_path):
    for seed in range(3):
        picture(tmp_path / "hr" / f"{seed}.png", seed + 50)
    words = ["--config", str(rendered / "config.yaml"), "--hr", str(tmp_path / "hr"), "--out", str(tmp_path)]
    with pytest.raises(UsageError, match="are not those of --config: give their folder to --hr"):
        gen.render.main(words)


@pytest.fixture(scope="module")
def made(hr, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    assert gen.testset.main(["--hr", str(hr), "--out", str(folder), "--workers", "1"]) == 0
    return folder


def test_a_sound_test_set_is_found_sound(made, capsys):
    assert gen.verify.main([str(made), "--rerender", "2"]) == 0
    said = capsys.readouterr().out
    assert "6 of 6 images are usable" in said
    assert "rendered 2 images again" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("HR/p1.png", "p1.png: has another hash than testset.json says"),
        ("LR/noise/p1.png", "p1.png: has another hash than testset.json says"),
        ("plans/mild/p1.json", "p1.json: lies outside mild: "),
    ],
)
def test_what_is_wrong_in_a_test_set_is_named(name, said, made, tmp_path, capsys):
    folder = shutil.copytree(made, tmp_path / "set")
    if name.endswith(".png"):
        image = decode((folder / name).read_bytes(), name)
        image[0, 0, 0] ^= 1
        (folder / name).write_bytes(encode_png(image))
    else:
        (folder / name).write_bytes((folder / name.replace("mild", "severe")).read_bytes())
    assert run_command(gen.verify.main, [str(folder)]) == 1
    captured = capsys.readouterr().out
    assert said in captured
    assert "5 of 6 images are usable: 0, 2-5" in captured or "5 of 6 images are usable: 0-0, 2-5" in captured
    (folder / name).unlink()
    assert run_command(gen.verify.main, [str(folder)]) == 1
    assert "is missing" in capsys.readouterr().out


def test_a_test_set_is_drawn_as_a_sheet_and_as_a_page(made, tmp_path):
    (group,) = gen.preview.find_groups([str(made)], 2)
    assert [task.name for task in group.tasks] == ["mild", "blur", "noise", "severe"]
    assert [len(task.plans) for task in group.tasks] == [6] * 4
    for name in ("sheet.png", "sheet.html"):
        assert gen.preview.main([str(made), "--rows", "2", "--out", str(tmp_path / name)]) == 0
    assert decode((tmp_path / "sheet.png").read_bytes(), "sheet").shape[0] > 2 * gen.preview.SIDE
    page = (tmp_path / "sheet.html").read_text()
    assert page.count('alt="HR"') == 2
    assert page.count('alt="LR"') == 8
    assert "Test set div2k4level" in page

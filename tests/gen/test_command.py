"""What a person meets who mistypes: one line that says what to do, no traceback, exit code 2 (usage) or 1 (failure)."""

import pytest

PATCH = ("--patch", "76")


def error_of(result, code):
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hr", "/no/such/folder"), "hr is '/no/such/folder': no such folder"),
        (("--val-hr", "/no/such/folder", "--split", "val"), "val_hr is '/no/such/folder': no such folder"),
        (
            ("--subspace", "nois"),
            "unknown subspace 'nois' of space 'paper': choose one of mild, blur, noise, severe or",
        ),
        (
            ("--space", "papier"),
            "unknown space 'papier': did you mean paper? choose one of paper, paper-wide",
        ),
        (("--partition", "2by2"), "unknown partition '2by2': choose 2x2, full, BxN such as 1x3"),
        (("--engine", "warp"), "unknown engine 'warp': choose one of local"),
        (("--colour", "red"), "--colour"),
        (("--count", "many"), "count"),
        (("--count", "0"), "count is 0: it must be at least 1"),
        (("--workers", "0"), "workers is 0: it must be at least 1"),
        (("--rows-per-shard", "0"), "rows_per_shard is 0: it must be at least 1"),
        (("--patch", "72"), "patch is 72: it must be at least 76 and a multiple of the scale 4"),
        (("--patch", "78"), "patch is 78: it must be at least 76 and a multiple of the scale 4"),
        (("--usm", "--split", "val"), "--usm with --split val: validation sets are never sharpened"),
        (("--split", "test"), "split"),
    ],
)
def test_a_request_that_cannot_be_meant(options, said, command, hr, tmp_path):
    given = options if "--hr" in options else ("--hr", str(hr), *options)
    line = error_of(command("gen.render", *given, "--out", str(tmp_path / "out")), 2)
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("coutn: 3", "coutn"),
        ("count: three", "count"),
        ("patch: 76.5", "patch"),
        ("usm: maybe", "usm"),
        ("count: [", "config"),
    ],
)
def test_a_configuration_file_that_cannot_be_meant(text, said, command, tmp_path):
    (tmp_path / "settings.yaml").write_text(text)
    options = ("--config", str(tmp_path / "settings.yaml"), "--out", str(tmp_path / "out"))
    assert said in error_of(command("gen.render", *options), 2)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(command, tmp_path):
    line = error_of(command("gen.render", "--hr", str(tmp_path), "--out", str(tmp_path / "out")), 1)
    assert "no usable HR image" in line
    assert "(no image files)" in line


def test_no_usable_picture_left(command, picture, tmp_path):
    picture(tmp_path / "a" / "small.png", 1, 40, 40)
    (tmp_path / "a" / "text.png").write_text("not a picture")
    line = error_of(command("gen.render", "--hr", str(tmp_path / "a"), *PATCH, "--out", str(tmp_path / "out")), 1)
    assert "(1 smaller than the patch (small.png); 1 unreadable (text.png))" in line


def test_an_output_folder_that_is_a_file(command, hr, tmp_path):
    (tmp_path / "out").touch()
    options = ("--hr", str(hr), *PATCH, "--count", "2", "--out", str(tmp_path / "out"))
    assert str(tmp_path / "out") in error_of(command("gen.render", *options), 1)


@pytest.mark.parametrize("module", ["gen.render", "gen.verify", "gen.preview"])
def test_help_explains_and_exits_0(module, command):
    result = command(module, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"usage: python -m {module}")
    assert result.stderr == ""


def test_a_dry_run_says_what_it_would_do(command, hr, tmp_path):
    result = command("gen.render", "--hr", str(hr), *PATCH, "--count", "5", "--dry-run", "--out", str(tmp_path / "out"))
    assert result.returncode == 0
    assert "to render: 20 rows" in result.stdout  # four tasks
    assert not (tmp_path / "out").exists()


def test_settings_come_from_a_file_and_flags_win(command, hr, tmp_path):
    (tmp_path / "settings.yaml").write_text(f"hr: {hr}\ncount: 3\npatch: 76\nsubspace: mild\n")
    result = command("gen.render", "--config", str(tmp_path / "settings.yaml"), "--count", "2", "--dry-run")
    assert "mild: 2 rows" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "path"),
        (("/no/such/folder",), "path is '/no/such/folder': no such folder"),
        ((".", "--rerender", "-1"), "rerender is -1"),
        (("gen",), "gen holds no dataset"),
    ],
)
def test_verify_refuses_what_is_no_dataset(options, said, command):
    assert said in error_of(command("gen.verify", *options), 2)


def test_preview_refuses_what_is_no_dataset(command, tmp_path):
    assert "no such folder" in error_of(command("gen.preview", str(tmp_path / "nothing")), 2)
    assert "no dataset at" in error_of(command("gen.preview", str(tmp_path)), 1)

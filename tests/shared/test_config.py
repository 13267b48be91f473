"""Settings: defaults, then a YAML file, then the command line; whatever is wrong is named."""

from dataclasses import dataclass
from typing import Literal

import pytest

from shared.config import argument, option, parse
from shared.errors import UsageError


@dataclass(frozen=True)
class Settings:
    path: str = argument("where")
    count: int | None = option(None, "how many")
    rate: float = option(0.5, "how fast")
    split: Literal["train", "val"] = option("train", "which")
    big_patch: int = option(lambda: 6 * 7, "how large")
    dry_run: bool = option(False, "only say")


def settings(*argv):
    return parse(Settings, list(argv), "program", "What it does.")


def test_defaults():
    assert settings("here") == Settings("here", None, 0.5, "train", 42, False)


def test_what_means_nothing_to_a_command_is_no_option_of_it(capsys):
    given = parse(Settings, ["here", "--rate", "2"], "program", "", without=("count", "big_patch"))
    assert given == Settings("here", None, 2.0, "train", 42, False)
    with pytest.raises(UsageError, match="--count"):
        parse(Settings, ["here", "--count", "3"], "program", "", without=("count",))
    with pytest.raises(SystemExit):
        parse(Settings, ["--help"], "program", "", without=("count",))
    assert "--count" not in capsys.readouterr().out


def test_flags_have_hyphens():
    given = settings("here", "--count", "3", "--rate", "2", "--split", "val", "--big-patch", "7", "--dry-run")
    assert given == Settings("here", 3, 2.0, "val", 7, True)
    assert settings("here", "--dry-run", "--no-dry-run").dry_run is False


def test_a_file_has_underscores_and_flags_win_over_it(tmp_path):
    (tmp_path / "s.yaml").write_text("count: 3\nbig_patch: 8\ndry_run: true\n")
    config = ("--config", str(tmp_path / "s.yaml"))
    assert settings("here", *config) == Settings("here", 3, 0.5, "train", 8, True)
    assert settings("here", *config, "--count", "4", "--no-dry-run") == Settings("here", 4, 0.5, "train", 8, False)


@dataclass(frozen=True)
class Lists:
    names: list[str] | None = option(None, "some")
    others: list[str] = option(lambda: ["a"], "more")


def test_a_list_of_one_needs_no_brackets(tmp_path):
    (tmp_path / "s.yaml").write_text("names: none\nothers: [b, c]\n")
    assert parse(Lists, ["--config", str(tmp_path / "s.yaml")], "program", "") == Lists(["none"], ["b", "c"])
    assert parse(Lists, ["--names", "x", "y", "--others", "z"], "program", "") == Lists(["x", "y"], ["z"])
    assert parse(Lists, [], "program", "") == Lists(None, ["a"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "path"),
        (["here", "there"], "there"),
        (["here", "--coutn", "3"], "--coutn 3: did you mean --count?"),
        (["here", "--coun", "3"], "--coun 3: did you mean --count?"),  # no abbreviations: a later option may share them
        (["here", "--unheard-of"], r"--unheard-of \(see"),
        (["here", "--count", "many"], '"count": Expected an int or null. Got value: many'),
        (["here", "--count", "1.5"], "count"),
        (["here", "--rate", "fast"], "rate"),
        (["here", "--split", "test"], "\"split\": Expected one of 'train', 'val'. Got value: test"),
        (["here", "--count"], "count"),
        (["here", "--config", "/no/such/file.yaml"], "/no/such/file.yaml"),
    ],
)
def test_a_wrong_flag_is_named(argv, words):
    with pytest.raises(UsageError, match=words) as caught:
        settings(*argv)
    assert "\n" not in str(caught.value)
    assert "<class" not in str(caught.value)
    assert str(caught.value).endswith("(see --help)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coutn: 3", "'coutn' is not accepted: did you mean count?"),
        ("count: many", "count"),
        ("count: 1.5", "count"),
        ("count: true", "count"),
        ("rate: [1]", "rate"),
        ("split: 3", "split"),
        ("dry_run: maybe", "dry_run.*'maybe' is not true or false"),
        ("dry_run: 1", "dry_run"),
        ("- 3", "config"),
        ("count: {", "config"),
        ("", "config"),
    ],
)
def test_a_wrong_key_in_a_file_is_named(text, words, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UsageError, match=words):
        settings("here", "--config", str(tmp_path / "s.yaml"))


def test_help_shows_every_setting_and_exits_0(capsys):
    with pytest.raises(SystemExit) as caught:
        settings("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "What it does." in text
    for words in ("how many", "--rate X", "train|val", "how large [42]", "--dry-run", "where"):
        assert words in text


@dataclass(frozen=True)
class Places:
    run: str = option("x", "one")
    sets: list[str] | None = option(None, "several")


def test_a_tilde_is_the_home_folder_wherever_a_path_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "s.yaml").write_text("run: ~/runs\nsets: [~/a, NAME=~/b, '~/lr,~/hr', a~b, c/~/d]\n")
    given = parse(Places, ["--config", str(tmp_path / "s.yaml")], "program", "")
    assert given.run == "/home/me/runs"
    assert given.sets == ["/home/me/a", "NAME=/home/me/b", "/home/me/lr,/home/me/hr", "a~b", "c/~/d"]
    assert parse(Places, ["--run=~"], "program", "").run == "/home/me"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: [1, 2", "s.yaml is not a configuration file: while parsing a flow sequence"),
        ("[" * 100_000, "s.yaml is not a configuration file: it is nested too deeply"),
        ("- 1\n- 2", "s.yaml is not a configuration file: it must hold lines like `name: value`"),
        ("rate: &a 1\ncount: *a", "it uses an alias"),
        (b"rate: \xe9", "s.yaml is not a configuration file: 'utf-8' codec"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, words):
    (tmp_path / "s.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=words):
        settings("here", "--config", str(tmp_path / "s.yaml"))

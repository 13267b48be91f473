"""What `--help` shows: a screen of what people use, everything on request, and no types of Python."""

import re
from dataclasses import dataclass, fields
from importlib import import_module
from typing import ClassVar, Literal

import pytest

from shared.command import COMMANDS, main
from shared.config import argument, option
from shared.help import help_text
from shared.rebalance.policies import POLICIES

SCREEN = 50
"""Lines of 80 columns that the help of a command may take."""
DOC = """What it does.

How it goes about it.

Examples:
realsr verb here
"""


@dataclass(frozen=True)
class Part:
    """A part.

    Args:
        size: how large it is
    """

    size: int = 3


@dataclass(frozen=True)
class Settings:
    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {"basic": ("names", "fast")}
    places: list[str] = argument("where")  # noqa: RUF009 - as `option`, it makes a field
    names: list[str] | None = option(None, "some names; as many as you like")
    fast: bool = option(True, "go fast")
    split: Literal["train", "val"] = option("train", "which half")
    part: Part = option(Part, "the part")
    share: float | None = option(None, "a share in %")


def test_help_shows_the_chosen_options_by_the_first_clause_of_their_help():
    lines = help_text(Settings, "realsr verb", DOC).splitlines()
    assert lines[0] == "usage: realsr verb PLACES ... [options]"
    assert "  realsr verb here" in lines
    assert "  --names NAMES ...       some names" in lines
    assert "  --no-fast               do not go fast" in lines
    assert "  --help-all              all options in full, 3 more than here" in lines
    assert not any("--split" in line for line in lines)


def test_help_all_shows_every_option_in_full():
    text = help_text(Settings, "python -m gen.verb", DOC, everything=True)
    assert "  python -m gen.verb here\n" in text
    for line in (
        "--names NAMES ...       some names; as many as you like",
        "--split train|val       which half [train]",
        "--part.size N           how large it is [3]",
        "--share X               a share in %",
    ):
        assert f"  {line}\n" in text


def test_what_a_command_does_not_take_is_not_shown():
    assert "--split" not in help_text(Settings, "realsr verb", DOC, without=("split",), everything=True)


def printed(arguments: list[str], monkeypatch, capsys) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_help_of_a_command_is_one_screen_with_examples(verb, monkeypatch, capsys):
    text = printed([verb, "--help"], monkeypatch, capsys)
    assert text.count("\n") <= SCREEN
    assert "\nexamples:\n" in text
    assert not re.search(r"type:|Literal|NoneType|null\b", text)


@pytest.mark.parametrize("verb", COMMANDS)
def test_groups_name_options(verb):
    module = import_module(COMMANDS[verb][0])
    for kind in vars(module).values():
        for names in getattr(kind, "help_groups", {}).values():
            assert set(names) <= kind.__dataclass_fields__.keys()


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_explains_itself_and_its_options(name, monkeypatch, capsys):
    text = printed(["train", "--policy", name, "--help"], monkeypatch, capsys)
    assert text.startswith(f"--policy {name}\n")
    for entry in fields(POLICIES[name]):
        assert not entry.init or f"--policy-options.{entry.name} VALUE" in text

"""What `--help` prints: usage, purpose, examples, and the options of a settings class in groups.

A class may have `help_groups`, the options that most people use by the title of their group; `--help` shows those, each
by the first clause of its help, and `--help-all` shows every option in full. Without `help_groups` both show
everything.
"""

import re
import shutil
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring

HELP_FLAGS = ("-h", "--help", "--help-all")
INDENT, LEAST_WIDTH, LARGEST_WIDTH = 26, 60, 100


def help_text(settings: type, prog: str, doc: str, without: Collection[str] = (), everything: bool = False) -> str:
    """The text of `--help`, or of `--help-all`.

    doc: the docstring of the command's module. Lines after `Examples:` are commands; they are shown as the command was
    typed.
    """
    purpose, _, examples = doc.partition("\nExamples:\n")
    everything = everything or not hasattr(settings, "help_groups")
    entries = {entry.name: entry for entry in fields(settings) if entry.name not in without}
    groups = _groups(settings, entries, everything)
    hints = get_type_hints(settings)
    places = [_place(name, hints[name]) for name, entry in entries.items() if entry.metadata.get("positional")]
    lines = [f"usage: {' '.join([prog, *places, '[options]'])}", "", *_paragraphs(purpose)]
    if examples:
        verb = prog.split()[-1].rpartition(".")[2]
        commands = re.sub(rf"^realsr {verb}\b", prog, textwrap.dedent(examples).rstrip(), flags=re.MULTILINE)
        lines += ["", "examples:", *textwrap.indent(commands, "  ").splitlines()]
    for title, names in groups.items():
        lines += ["", f"{title}:"]
        for name in names:
            lines += _option_lines(entries[name], hints[name], everything)
    lines += ["", *(line for name, text in _own(groups, entries).items() for line in _two_columns(name, text))]
    return "\n".join(lines)


def _groups(settings: type, entries: Mapping[str, Field], everything: bool) -> dict[str, list[str]]:
    """Names of the options to show, by the title of their group."""
    places = [name for name, entry in entries.items() if entry.metadata.get("positional")]
    groups = {"arguments": places} if places else {}
    chosen: Mapping[str, tuple[str, ...]] = getattr(settings, "help_groups", {})
    groups |= {title: [name for name in names if name in entries] for title, names in chosen.items()}
    named = {name for names in groups.values() for name in names}
    rest = [name for name in entries if name not in named]
    if everything:
        groups["expert" if chosen else "options"] = rest
    return {title: names for title, names in groups.items() if names}


def _own(groups: Mapping[str, list[str]], entries: Mapping[str, Field]) -> dict[str, str]:
    """The options that every command has."""
    num_left = len(entries) - sum(map(len, groups.values()))
    own = {"--config FILE": "YAML file with any of these options"}
    if num_left:
        own["--help-all"] = f"all options in full, {num_left} more than here"
    else:
        own["--print_config"] = "print the settings as YAML and stop"
    return own


def _option_lines(entry: Field, kind: Any, everything: bool) -> list[str]:
    flag, text = f"--{entry.name.replace('_', '-')}", entry.metadata.get("help", "")
    if entry.metadata.get("positional"):
        return _two_columns(_place(entry.name, kind), text)
    nested = [each for each in (kind, *get_args(kind)) if is_dataclass(each)]
    if nested:
        return _nested_lines(flag, text, nested[0], everything)
    default = entry.default if entry.default_factory is MISSING else entry.default_factory()
    return _two_columns(*_described(flag, kind, text, default, everything))


def _place(name: str, kind: Any) -> str:
    """An argument that is given by its place, in capitals; several are followed by dots."""
    return f"{name.upper()} ..." if get_origin(kind) is list else name.upper()


def _nested_lines(flag: str, text: str, kind: Any, everything: bool) -> list[str]:
    """A group of options, such as --network.name: the first of them, or a line of each."""
    hints, lines = get_type_hints(kind), _two_columns(f"{flag}.NAME", f"{text}:") if everything else []
    texts = {each.arg_name: " ".join((each.description or "").split()) for each in parse_docstring(kind.__doc__).params}
    for entry in fields(kind) if everything else fields(kind)[:1]:
        text = entry.metadata.get("help") or texts.get(entry.name, "")
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        lines += _two_columns(*_described(f"{flag}.{entry.name}", hints[entry.name], text, default, everything))
    return lines


def _described(flag: str, kind: Any, text: str, default: Any, everything: bool) -> tuple[str, str]:
    """An option with its kind of value, and its help with its default."""
    if not everything:
        text = re.split(r"[.;] (?=\S)", text, maxsplit=1)[0]
    if kind is bool:
        return (flag.replace("--", "--no-", 1), f"do not {text}") if default else (flag, text)
    if default not in (None, "", {}, []) and "default" not in text:
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        text = f"{text} [{shown}]"
    return f"{flag} {_value(flag, kind)}", text


def _value(flag: str, kind: Any) -> str:
    """How a value is written in a usage line: N, X, a|b, or the last word of the option."""
    arguments = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    kinds = [each for each in arguments if each is not NoneType]
    for each in kinds:
        if get_origin(each) is Literal:
            return "|".join([*(["X"] if float in kinds else []), *map(str, get_args(each))])
    word = re.split(r"[-.]", flag)[-1].upper()
    if kinds == [int]:
        return "N"
    if kinds == [float]:
        return "X"
    if get_origin(kinds[0]) is dict:
        return "..."
    return f"{word} ..." if get_origin(kinds[0]) is list else word


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, LEAST_WIDTH), LARGEST_WIDTH)


def _paragraphs(text: str) -> list[str]:
    """Text with each paragraph wrapped to the terminal."""
    paragraphs = (textwrap.fill(" ".join(each.split()), _width()) for each in text.strip().split("\n\n"))
    return "\n\n".join(paragraphs).splitlines()


def _two_columns(left: str, right: str) -> list[str]:
    lines = textwrap.wrap(right, _width() - INDENT, break_on_hyphens=False) or [""]
    head = f"  {left}"
    if len(head) > INDENT - 2:
        return [head, *(" " * INDENT + line for line in lines)]
    return [head.ljust(INDENT) + lines[0], *(" " * INDENT + line for line in lines[1:])]

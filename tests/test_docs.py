"""Every command line of the README, of docs/, CONTRIBUTING.md and of `--help` is understood by the command it names.

The sixty seconds of the README are run as they stand.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from shared.command import COMMANDS
from shared.errors import UsageError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = {
    "pip",
    "git",
    "python3",
    ".",
    "hf",
    "energon",
    "cd",
    "mkdir",
    "ln",
    "for",
    "tar",
    "do",
    "done",
    "printf",
    "cat",
    "sbatch",
    ".venv/bin/python",
}
"""Programs that are not ours, whose options are not looked at."""
OURS = {"realsr", "python", "accelerate", "torchrun", "bash", "export"}
PACKAGES = {"scripts.reproduce": "scripts.reproduce.__main__", "scripts.bench": "scripts.bench.__main__"}
"""Commands that want a name first, and without one list the names."""
MODULES = {name: name for name, _ in COMMANDS.values()} | {"train.report": "train.report.__main__"} | PACKAGES
SCRIPTS = {"train/run.py": "train.run", "scripts/gpu_check.sh": "scripts.gpu_check"}


class Understood(Exception):  # noqa: N818 - it is no error
    """The options of a command were parsed."""


def blocks(page: Path, kinds: str) -> list[str]:
    return [
        found[2]
        for found in re.finditer(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        if found[1] in kinds.split("|")
    ]


def lines_of(page: Path) -> Iterator[tuple[str, bool]]:
    """The command lines of a page, and whether each stands whole in a block (a sentence may leave arguments out)."""
    variables: dict[str, str] = {"NODE": "0"}
    for block in blocks(page, "|bash|console"):
        if not (begun := re.match(r"(?:\$ )?(?:#.*\n|\w+=\S+ )*([\w./-]+)", block)) or begun[1] not in OURS | OTHERS:
            continue  # a listing
        is_session = block.startswith("$ ")
        for line in block.replace("\\\n", " ").splitlines():
            if is_session and not line.startswith("$ "):
                continue
            line = line.removeprefix("$ ")
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            variables |= dict(re.findall(r'^export (\w+)="(.*)"$', line))
            yield line, True
    for line in re.findall(r"`((?:realsr|python -m|accelerate launch|torchrun|bash) [^`\n]+)`", page.read_text()):
        yield line, False


def commands_of(line: str) -> Iterator[list[str]]:
    """The commands that a line chains, without assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;><")
    lexer.commenters = "#"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;"):
            words = words[: words.index(">")] if ">" in words else words
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(word)


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command runs, and its arguments; None for another program. Raises ValueError for neither."""
    if words[0] in OTHERS or words[0] == "export" or words[:3] == ["python", "-m", "pytest"]:
        return None
    for at, word in enumerate(words):
        if word == "realsr" and words[at + 1] in COMMANDS:
            return COMMANDS[words[at + 1]][0], words[at + 2 :]
        if word in SCRIPTS:
            return SCRIPTS[word], words[at + 1 :]
        if word == "-m" and words[at + 1] in MODULES:
            return MODULES[words[at + 1]], words[at + 2 :]
        if word.endswith(".sh") or word == ".ci/run":
            assert (ROOT / word).is_file()
            return None
        if word.endswith(".py") and words[0] in ("python", "torchrun") and not (ROOT / word).exists():
            return None  # a file that the page tells its reader to write
    raise ValueError(f"which command is this? {shlex.join(words)}")


def understand(words: list[str], is_whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises unless the command's own parser takes these options."""
    try:
        found = module_of(words)
    except ValueError:
        if is_whole:
            raise
        return
    if not found:
        return
    name, arguments = found
    entry = import_module(name)
    parse = entry.parse

    def only_parse(*given, **named):
        try:
            parse(*given, **named)
        except UsageError as error:
            if is_whole and not re.search("no such file|no weights file", str(error)):
                raise
            if re.search("unrecognized|Expected", str(error)):
                raise
        raise Understood

    monkeypatch.setattr(entry, "parse", only_parse)
    if arguments or name not in PACKAGES.values():
        with pytest.raises((Understood, SystemExit)):
            entry.main([word for word in arguments if is_whole or word != "..."])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_pages_are_understood(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for line, is_whole in lines_of(page):
        for words in commands_of(line):
            with monkeypatch.context() as patch:
                understand(words, is_whole, patch)


@pytest.mark.parametrize("verb", COMMANDS)
def test_examples_of_help_are_understood(verb, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, _, examples = (import_module(COMMANDS[verb][0]).__doc__ or "").partition("\nExamples:\n")
    assert examples.startswith(f"realsr {verb}")
    for words in map(shlex.split, examples.strip().splitlines()):
        with monkeypatch.context() as patch:
            understand(words, True, patch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, _, anchor in re.findall(r"\]\(([^)#:]*)(#([^)]*))?\)", page.read_text()):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", ["render", "library", "train", "cluster", "reproduce"])
def test_a_page_begins_with_a_command(name):
    page = ROOT / "docs" / f"{name}.md"
    assert re.match(r"# [^\n]+\n\n```\n\w", page.read_text())


def test_the_sixty_seconds_of_the_readme(tmp_path):
    session = next(block for block in blocks(ROOT / "README.md", "console"))
    places = {"PYTHONPATH": str(ROOT), "REALSR_CACHE": str(tmp_path / "cache")}
    environment = os.environ | places
    realsr = "import sys; from shared.command import main; sys.argv[0] = 'realsr'; sys.exit(main())"
    for part in session.removeprefix("$ ").split("\n$ "):
        command, _, expected = part.partition("\n")
        words = [sys.executable, "-c", realsr, *shlex.split(command)[1:]]
        printed = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=True
        ).stdout
        pattern = ".*".join(map(re.escape, expected.strip().split("...")))
        assert re.fullmatch(pattern, printed.strip(), re.DOTALL), printed
    (tmp_path / "example.txt").write_text(next(block for block in blocks(ROOT / "README.md", "python")))
    del environment["PYTHONPATH"]
    words = [sys.executable, "-m", "doctest", "example.txt"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout

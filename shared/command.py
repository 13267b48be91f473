"""The console command `realsr VERB`: every command of the project by one name, from any folder."""

import shlex
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from .text import without_password

COMMANDS = {
    "render": ("gen.render", "render LR-HR pairs of a subspace into shards"),
    "verify": ("gen.verify", "check shards: hashes, structure, rows rendered again"),
    "preview": ("gen.preview", "draw rows of a dataset, with their plans in words"),
    "status": ("gen.status", "show which shards are done, failed or pending"),
    "adopt": ("gen.adopt", "make a dataset of pairs that were made elsewhere"),
    "merge": ("gen.merge", "join parts that were rendered apart"),
    "export": ("gen.export", "write pairs as PNG folders, LMDB or triplets for other trainers"),
    "publish": ("gen.publish", "upload datasets to Hugging Face's hub"),
    "testset": ("gen.testset", "make a whole-image test set"),
    "space": ("gen.space", "print a degradation space as YAML, or draw what it does"),
    "train": ("train.run", "train references and the shared network"),
    "plan-mixture": ("train.plan_mixture", "predict what mixtures of the tasks gain, and choose one"),
    "evaluate": ("train.evaluate", "evaluate a network on test sets"),
    "compare": ("train.compare", "compare evaluations, paired by image"),
    "upscale": ("train.upscale", "upscale images with a trained network"),
    "interpolate": ("train.interpolate", "interpolate the weights of two networks"),
    "report": ("train.report.__main__", "write an HTML page about a run"),
}
"""Module and one-line description of each verb. Modules are imported by name, since the library may not import them."""

FIRST_STEPS = """`realsr VERB --help` describes a verb and has examples. To begin, without any download:

  realsr render --subspace noise --count 100
  realsr preview shards/noise --out sheet.html"""


def spelling(verb: str) -> str:
    """A verb as usage lines and hints spell it: `realsr render`, or `python -m gen.render` when that was typed."""
    ours = {Path(__file__).absolute().parents[1] / package for package in ("gen", "train", "scripts")}
    is_module = not ours.isdisjoint(Path(sys.argv[0]).absolute().parents)
    return f"python -m {COMMANDS[verb][0].removesuffix('.__main__')}" if is_module else f"realsr {verb}"


def typed(verb: str, *words: object) -> str:
    """A command line of ours as it can be typed; passwords in urls are left to the reader."""
    return f"{spelling(verb)} {without_password(shlex.join(map(str, words)))}"


def next_step(verb: str, *words: object) -> str:
    """The line that ends a command: what to run next."""
    return f"next: {typed(verb, *words)}"


def main(argv: list[str] | None = None) -> int:
    """Run a verb with the remaining arguments. Returns its exit code."""
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        lines = [f"  {name:<14}{text}" for name, (_, text) in COMMANDS.items()]
        print("\n".join(["usage: realsr VERB [options]", "", *lines, "", FIRST_STEPS]))
        return 0
    if verb not in COMMANDS:
        near = "".join(f"did you mean {name}? " for name in get_close_matches(verb, COMMANDS, 1))
        print(f"error: unknown verb {verb!r}: {near}choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    run_command = import_module("shared.errors").run_command
    return run_command(lambda words: import_module(COMMANDS[verb][0]).main(words), rest)

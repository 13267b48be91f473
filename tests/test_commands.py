"""What every command owes its user before it works: a quick answer to wrong usage, and the same name as was typed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.command import COMMANDS, main, next_step
from shared.errors import INTERRUPTED

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "numba", "cv2"}
WRONG = {
    "render": [
        ["--subspace", "nonsense"],
        ["--space", "nonsense"],
        ["--partition", "nonsense"],
        ["--codec", "nonsense"],
        ["--backend", "nonsense"],
        ["--engine", "nonsense"],
        ["--split", "nonsense"],
        ["--patch", "75"],
        ["--rows", "5:1"],
        ["--hr", "/nowhere", "--workers", "1"],
        ["--config", "/nowhere.yaml"],
    ],
    "verify": [["/nowhere"], ["/", "--rerender", "-1"]],
    "preview": [["/nowhere"]],
    "status": [["/nowhere"], ["/", "--interval", "0"]],
    "merge": [["/nowhere", "/nowhere"], ["/nowhere", "/elsewhere"], ["https://host/x", "/elsewhere"]],
    "space": [["nonsense"], ["paper", "--out", "x.png"], ["paper", "--draw", "1", "--hr", "/nowhere.png"]],
    "export": [["/nowhere"], ["/", "--format", "nonsense"]],
    "testset": [["--name", "nonsense"], ["--space", "nonsense"], ["--hr", "/nowhere"]],
    "train": [
        ["--policy", "nonsense"],
        ["--policy", "rlw", "--policy-options.nonsense", "1"],
        ["--stage", "nonsense"],
        ["--network", "rrdbnet"],
        ["--network.name", "nonsense"],
        ["--network.options.nonsense", "1"],
        ["--estimator.temperature", "-1"],
        ["--iterations", "7"],
        ["--mode", "single"],
        ["--init", "/nowhere.pth"],
        ["--hr", "/nowhere"],
        ["--references", "/nowhere.json"],
        ["--config", "/nowhere.yaml"],
        ["--shards", "https://host/x"],
    ],
    "evaluate": [
        ["--checkpoint", "bicubic"],
        ["--testset", "/nowhere", "--checkpoint", "bicubic"],
        ["--testset", "/", "--checkpoint", "/nowhere"],
        ["--testset", "/", "--checkpoint", "bicubic", "--border", "-1"],
        ["--testset", "/", "--checkpoint", "bicubic", "--lpips", "nonsense"],
    ],
    "compare": [["/nowhere"], ["/nowhere", "/elsewhere"], ["a", "b", "--rows", "0"]],
    "upscale": [
        ["/nowhere", "out.png", "--checkpoint", "/"],
        ["/", "/elsewhere"],
        ["/nowhere", "out.png", "--checkpoint", "/nowhere"],
        ["/", "/elsewhere", "--checkpoint", "/", "--outscale", "0"],
        ["/", "/elsewhere", "--checkpoint", "/", "--format", "bmp"],
    ],
    "interpolate": [["/nowhere", "/"], ["/", "/", "--alpha", "2"], ["/", "/", "--out", "x.onnx"]],
    "report": [["/nowhere"], ["/", "/"]],
}
"""Wrong names, places and values of each verb, beside an unknown option."""
EACH_CASE = f"""if True:
    import contextlib, importlib, io, json, os, sys
    from shared.command import COMMANDS, main

    verb, cases = json.loads(sys.argv[1])
    importlib.import_module(COMMANDS[verb][0])
    for case in cases:
        if os.fork() == 0:
            with contextlib.redirect_stderr(io.StringIO()) as said:
                code = main([verb, *case])
            print(json.dumps([case, code, said.getvalue()[:7], [*{HEAVY} & sys.modules.keys()]]), flush=True)
            os._exit(0)
        os.wait()
    """
"""Answers each case in a process of its own, which has loaded no more than the verb's module."""


@pytest.mark.parametrize("verb", COMMANDS.keys())
def test_wrong_usage_is_answered_before_heavy_libraries_are_loaded(verb):
    cases = [["--nonsense"], *WRONG.get(verb, [])]
    line = [sys.executable, "-c", EACH_CASE, json.dumps([verb, cases])]
    answer = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert [*map(json.loads, answer.stdout.splitlines())] == [[case, 2, "error: ", []] for case in cases]


@pytest.mark.parametrize("verb", COMMANDS.keys())
def test_usage_names_the_command_as_it_was_typed(verb, monkeypatch, capsys):
    for program, name in (
        (ROOT / COMMANDS[verb][0].replace(".", "/"), f"python -m {COMMANDS[verb][0].removesuffix('.__main__')}"),
        ("realsr", f"realsr {verb}"),
    ):
        monkeypatch.setattr(sys, "argv", [str(program), verb, "--help"])
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().out.startswith(f"usage: {name} ")


@pytest.mark.parametrize("verb", COMMANDS.keys())
def test_help_fits_a_screen_and_names_no_module(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["realsr", verb, "--help"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 40
    assert not re.search(r"\b(gen|train)[./]\w+(?!.*yaml)", shown)


REALSR = "import sys; from shared.command import main; sys.exit(main(['render']))"


@pytest.mark.parametrize("line", [["-m", "gen.render"], ["-c", REALSR], ["train/run.py"]], ids=("-m", "realsr", "file"))
def test_an_interrupt_while_a_command_is_imported_is_one_line(line, tmp_path):
    (tmp_path / "jsonargparse.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    answer = subprocess.run(
        [sys.executable, *line],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.stderr == f"{INTERRUPTED}\n"
    assert answer.returncode in (130, -signal.SIGINT)  # the same to a shell


def test_what_to_run_next_can_be_typed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["realsr"])
    assert next_step("preview", "my shards", "--out", "a.html") == "next: realsr preview 'my shards' --out a.html"

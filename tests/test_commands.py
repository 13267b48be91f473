"""What every command owes its user before it works: a quick answer to wrong usage, and the same name as was typed."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.command import COMMANDS, main

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "numba", "cv2"}
NOT_YET = {"train", "evaluate", "compare", "upscale", "report"}
"""Verbs that still import a network before they parse."""
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
    "testset": [["--name", "nonsense"], ["--space", "nonsense"], ["--hr", "/nowhere"]],
}
"""Wrong names, places and values of each verb, beside an unknown option."""
CASES = [(verb, case) for verb in COMMANDS if verb not in NOT_YET for case in [["--nonsense"], *WRONG.get(verb, [])]]


@pytest.mark.parametrize(
    ("verb", "arguments"), CASES, ids=lambda case: " ".join(case) if isinstance(case, list) else case
)
def test_wrong_usage_is_answered_before_heavy_libraries_are_loaded(verb, arguments, tmp_path):
    code = f"""if True:
        import sys
        from shared.command import main
        code = main({[verb, *arguments]})
        print(code, *{HEAVY} & sys.modules.keys())
        """
    line = [sys.executable, "-c", code]
    answer = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.stdout.strip(), answer.stderr[:7]) == ("2", "error: ")


@pytest.mark.parametrize("verb", COMMANDS.keys() - NOT_YET)
def test_usage_names_the_command_as_it_was_typed(verb, monkeypatch, capsys):
    for program, name in (
        (ROOT / COMMANDS[verb][0].replace(".", "/"), f"python -m {COMMANDS[verb][0]}"),
        ("realsr", f"realsr {verb}"),
    ):
        monkeypatch.setattr(sys, "argv", [str(program), verb, "--help"])
        with pytest.raises(SystemExit):
            main()
        assert capsys.readouterr().out.startswith(f"usage: {name} ")

"""The project's commands as the experiments run them: in this process, with what they say in a file."""

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

from shared.errors import RunError

LOG = "commands.log"
"""What the commands of all experiments have said; progress bars and results are shown."""


def command(main: Callable[[list[str]], int], argv: list[str], log: Path) -> None:
    """Run a command of the project; what it says goes to `log`. Raises its error, or `RunError` for an exit code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", buffering=1) as file, contextlib.redirect_stdout(file):
        print(f"$ {main.__module__} {shlex.join(argv)}")
        code = main(argv)
    if code:
        raise RunError(f"a command failed with exit code {code}, see {log}: {main.__module__} {shlex.join(argv)}")

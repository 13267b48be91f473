"""A Slurm job array: writes the todo list and the script, and submits it when `sbatch` is there.

As the scheduler calls it, one element of the array: python -m gen.engines.slurm TODO INDEX COUNT.
Renders every COUNT-th shard of the list, from INDEX on; what is finished is skipped, so an element may run again.
"""

import fcntl
import hashlib
import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gen.engines import PACKAGES, absolute
from gen.processes import one_thread
from gen.recipe import Recipe
from gen.shards import attempt
from gen.specs import Outcome, ShardSpec
from shared.config import argument, parse
from shared.errors import RunError, UsageError, run_command
from shared.photos.crops import HRImages
from shared.photos.find import HRImage
from shared.storage.atomic import lock, write_bytes, write_text
from shared.storage.places import Place, lock_folder, place
from shared.storage.remote import Remote

FOLDER = ".slurm"
"""Beside the datasets: one folder a submission, with `todo.jsonl`, `array.sh`, `job` (its number) and the logs."""


def run(specs: Sequence[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Submit the shards as an array of `workers` elements, without those that a queued array has already.

    Raises `RunError` when Slurm refuses the job.
    """
    if not specs:
        return
    home = _home(place(specs[0].folder))
    queued = _queued(home)
    yield from (Outcome(spec, waits_for=queued[spec.name]) for spec in specs if spec.name in queued)
    if left := [spec for spec in specs if spec.name not in queued]:
        waits_for = _submit(home, left, min(workers, len(left)))
        yield from (Outcome(spec, waits_for=waits_for) for spec in left)


def _home(folder: Place) -> Path:
    """Where submissions are kept: beside the datasets, or here when those are behind a url."""
    return (Path.cwd() if isinstance(folder, Remote) else folder.resolve().parent) / FOLDER


def _submit(home: Path, specs: Sequence[ShardSpec], elements: int) -> str:
    """Write the job and submit it. Returns what the shards wait for now."""
    todo = write_todo(specs)
    folder = home / hashlib.sha256(todo).hexdigest()[:12]
    script = folder / "array.sh"
    text = array_script(folder, elements)
    write_bytes(folder / "todo.jsonl", todo)
    if any(spec.folder != str(place(spec.folder)) for spec in specs[:1]):  # there is a password in the url
        (folder / "todo.jsonl").chmod(0o600)
    write_text(script, text)
    if not shutil.which("sbatch"):
        return f"you: there is no sbatch here, so run `sbatch {shlex.quote(str(script))}` where there is"
    result = subprocess.run(["sbatch", "--parsable", str(script)], capture_output=True, text=True)
    if result.returncode:
        raise RunError(f"sbatch refused {script}: {result.stderr.strip() or f'exit code {result.returncode}'}")
    job = result.stdout.strip().partition(";")[0]  # job;cluster
    write_text(folder / "job", job)
    return f"Slurm job {job}"


def _queued(home: Path) -> dict[str, str]:
    """Names of the shards that arrays in the queue are to render, and which."""
    found: dict[str, str] = {}
    for path in sorted(home.glob("*/job")) if shutil.which("squeue") else []:
        job = path.read_text()
        line = ["squeue", "--noheader", "--jobs", job]
        result = subprocess.run(line, capture_output=True, text=True)  # an old job is unknown to it: exit code 1
        if result.returncode == 0 and result.stdout.strip():
            specs = read_todo((path.parent / "todo.jsonl").read_bytes())
            found |= {spec.name: f"Slurm job {job}" for spec in specs}
    return found


def write_todo(specs: Sequence[ShardSpec]) -> bytes:
    """The shards as JSON lines: a line for each dataset with its photographs, then a line for each of its shards."""
    lines: list[dict] = []
    last = ""
    for spec in specs:
        if spec.folder != last:
            last = spec.folder
            dataset = absolute(spec)
            photographs = [asdict(photograph) for photograph in dataset.photographs]
            lines.append({"folder": dataset.folder, "recipe": spec.recipe.to_dict(), "photographs": photographs})
        lines.append({"index": spec.index, "rows": spec.rows})
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def read_todo(data: bytes) -> list[ShardSpec]:
    """The shards of a todo list. Raises ValueError for what is none."""
    specs: list[ShardSpec] = []
    template: Any = None
    try:
        for values in map(json.loads, data.splitlines()):
            if "folder" in values:
                photographs = HRImages(HRImage(**photograph) for photograph in values["photographs"])
                template = ShardSpec(values["folder"], Recipe.from_dict(values["recipe"]), photographs, 0, 0)
            else:
                specs.append(replace(template, **values))
        return specs
    except (KeyError, TypeError) as error:
        raise ValueError(f"no todo list of this program: {error}") from error


def array_script(folder: Path, elements: int) -> str:
    """The batch script. A killed or requeued element skips what it has finished. Raises `UsageError` for odd paths.

    Its current folder may hold modules with the names of ours, so Python is told not to look there (-P).
    """
    for path in (folder, Path.cwd(), PACKAGES, Path(sys.executable)):
        if not str(path).isprintable():
            raise UsageError(f"{str(path)!r} has a character that no batch script may hold: use a folder without it")
    python, here, package = (shlex.quote(str(path)) for path in (sys.executable, Path.cwd(), PACKAGES))
    logs = shlex.quote(str(folder).replace("%", "%%") + "/%a.log")  # Slurm replaces other words with a % in front
    return f"""#!/bin/bash
#SBATCH --job-name=gen.render
#SBATCH --array=0-{elements - 1}
#SBATCH --cpus-per-task=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={logs}
set -euo pipefail
cd {here}
export OMP_NUM_THREADS=1 PYTHONPATH={package}"${{PYTHONPATH:+:$PYTHONPATH}}"
exec {python} -P -m gen.engines.slurm {shlex.quote(f"{folder}/todo.jsonl")} "$SLURM_ARRAY_TASK_ID" {elements}
"""


@dataclass(frozen=True)
class SlurmSettings:
    """What an element of the array is told."""

    todo: str = argument("todo.jsonl of the submission")
    index: int = argument("number of this element: SLURM_ARRAY_TASK_ID")
    count: int = argument("number of elements of the array")


def main(argv: list[str]) -> int:
    """The command of one element; see `SlurmSettings`. Returns the exit code."""
    settings = parse(SlurmSettings, argv, "python -m gen.engines.slurm", __doc__ or "")
    if not 0 <= settings.index < settings.count:
        raise UsageError(f"index is {settings.index}: it must be 0 or more and below count, which is {settings.count}")
    try:
        specs = read_todo(Path(settings.todo).read_bytes())[settings.index :: settings.count]
    except (OSError, ValueError) as error:
        raise UsageError(f"todo is {settings.todo!r}, which cannot be read: {error}") from error
    one_thread()
    failures = 0
    with ExitStack() as locks:
        for folder in sorted({spec.folder for spec in specs}):
            locks.enter_context(_one_of_many_writers(place(folder)))
        for spec in specs:
            outcome = attempt(spec, lambda: None)
            failures += outcome.done is None
            print(f"{spec.name}: {outcome.reason or 'done'}", flush=True)
    if failures:
        raise RunError(f"{failures} of {len(specs)} shards failed, listed above; the same render command retries them")
    return 0


@contextmanager
def _one_of_many_writers(dataset: Place) -> Iterator[None]:
    """Wait until no gen.render works in the folder, then keep it from starting: it would remove our temporaries."""
    folder = lock_folder(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        lock(file.fileno(), folder, fcntl.LOCK_SH)
        yield


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # preempted: leave nothing half written
    sys.exit(run_command(main))

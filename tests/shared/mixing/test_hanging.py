"""A loader ends with the process that uses it, whatever that process did before and however it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from gen.render import main as render

LIMIT_SECONDS = 180
"""A process that takes longer hangs; alone it takes five seconds, most of them for importing PyTorch."""

SCRIPT = """
import multiprocessing, os, sys, threading
import cv2, numpy, torch, tqdm
from realsr_rebalance import MixingLoader

def use_threads():
    cv2.setNumThreads(4)
    cv2.GaussianBlur(numpy.zeros((2000, 2000, 3), numpy.float32), (31, 31), 5)
    torch.set_num_threads(4)
    torch.ones(600, 600) @ torch.ones(600, 600)
    threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()

def main(method, ending):
    multiprocessing.set_start_method(method)
    use_threads()
    bar = tqdm.tqdm(range(3), mininterval=0, miniters=1)  # whose monitor is a thread
    other = iter(torch.utils.data.DataLoader(list(range(100)), num_workers=1, persistent_workers=True))
    next(other)
    loader = MixingLoader("shards", batch_size=4, workers=2 if method == "fork" else 1)
    batches = loader.interval({"mild": 1}, steps=3)
    counts = [len(next(batches).task) for _ in bar if ending != "dropped" or bar.n < 1]
    assert cv2.getNumThreads() == 4
    print(sum(counts), flush=True)
    if ending == "dropped":
        del loader, batches
    elif ending == "error":
        raise RuntimeError("an error of the user's, whose traceback holds the loader")

if __name__ == "__main__":
    method, *endings = sys.argv[1:]
    for ending in endings:  # each in a process of its own, which need not import anything
        if not (child := os.fork()):
            main(method, ending)
            sys.exit()
        print("exit code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a script and shards."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "script.py").write_text(SCRIPT)
    render(["--subspace", "mild", "--out", str(folder / "shards"), "--patch", "76", "--count", "8", "--workers", "1"])
    return folder


@pytest.mark.parametrize(
    ("method", "endings"), [("fork", ["open", "dropped", "error"]), ("forkserver", ["error"]), ("spawn", ["open"])]
)
def test_a_loader_never_hangs(method: str, endings: list[str], folder: Path) -> None:
    line = [sys.executable, "script.py", method, *endings]
    done = subprocess.run(line, cwd=folder, timeout=LIMIT_SECONDS, check=False, capture_output=True, text=True)
    said = {"open": ["12", "exit code 0"], "dropped": ["4", "exit code 0"], "error": ["12", "exit code 1"]}
    assert done.stdout.splitlines() == [line for ending in endings for line in said[ending]], done.stderr
    assert ("an error of the user's" in done.stderr) == ("error" in endings)

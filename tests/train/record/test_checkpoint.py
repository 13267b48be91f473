"""Checkpoints are whole or absent, readable by other tools, and never run code."""

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import RunError, UsageError
from train.networks.build import seeded
from train.networks.discriminator import UNetDiscriminator
from train.networks.weights import NetworkSpec, load_weights, read_spec, weights_digest
from train.record.checkpoint import EMA, MODEL, keep_best, load_optimizers, save_checkpoint, weights_file
from train.record.state import State, latest_checkpoint, load_state

SPEC = NetworkSpec("msrresnet", {"num_feat": 4, "num_block": 1}, 4)


@cache
def weights(seed: int) -> dict[str, torch.Tensor]:
    return SPEC.build(seed).state_dict()


@cache
def critic(seed: int) -> dict[str, torch.Tensor]:
    with seeded(seed):
        return UNetDiscriminator(num_feat=2).state_dict()


@cache
def optimizer_state(seed: int) -> dict[str, Any]:
    network = SPEC.build(seed)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def save(run: Path, step: int, keep: int = 3) -> Path:
    """The checkpoint of a step, with contents of that step alone."""
    record = {"quotas": [step, 1], "delivered": [0, 1]}
    state = State(step, [step, 2 * step], record, {"noise/train": "abc"})
    networks = {MODEL: weights(step), EMA: weights(step + 100), "discriminator": critic(step)}
    return save_checkpoint(run, state, SPEC, networks, {"generator": optimizer_state(step)}, keep)


def require_complete(folder: Path, step: int) -> None:
    """Everything that `save` wrote, bit by bit."""
    assert load_state(folder).step == step
    assert weights_digest(load_weights(folder / "model.safetensors")) == weights_digest(weights(step))
    assert weights_digest(load_weights(folder / "ema.safetensors")) == weights_digest(weights(step + 100))
    assert weights_digest(load_weights(folder / "discriminator.safetensors")) == weights_digest(critic(step))
    assert weights_digest(load_weights(folder / "discriminator.pth")) == weights_digest(critic(step))
    loaded, expected = load_optimizers(folder)["generator"]["state"], optimizer_state(step)["state"]
    assert all(torch.equal(loaded[i]["exp_avg_sq"], expected[i]["exp_avg_sq"]) for i in expected)


def test_a_checkpoint_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    require_complete(folder, 7)
    assert load_state(folder) == State(7, [7, 14], {"quotas": [7, 1], "delivered": [0, 1]}, {"noise/train": "abc"})
    assert read_spec(folder / "ema.safetensors") == SPEC
    params = torch.load(folder / "network.pth", weights_only=True)
    assert list(params) == ["params", "params_ema"]
    assert weights_digest(params["params"]) == weights_digest(weights(7))
    assert weights_digest(params["params_ema"]) == weights_digest(weights(107))


def test_latest_names_the_last_checkpoint_and_the_last_few_are_kept(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for step in (2, 4, 6, 8):
        folder = save(tmp_path, step, keep=2)
        assert latest_checkpoint(tmp_path) == folder
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]


def test_a_checkpoint_of_an_abandoned_future_never_displaces_the_latest(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 10)
    (tmp_path / "latest").write_text("step-00000005")  # killed between the folder and the pointer
    resumed = save(tmp_path, 7, keep=1)
    assert latest_checkpoint(tmp_path) == resumed
    require_complete(resumed, 7)


def test_a_checkpoint_that_latest_names_must_be_there(tmp_path: Path) -> None:
    shutil.rmtree(save(tmp_path, 3))
    with pytest.raises(RunError, match="step-00000003, which is not there"):
        latest_checkpoint(tmp_path)


def test_the_best_checkpoint_is_kept_beside_the_last_ones(tmp_path: Path) -> None:
    for step, psnr_db in ((2, 20.0), (4, 22.0), (6, 21.0), (8, 22.0)):
        save(tmp_path, step, keep=1)
        keep_best(tmp_path, step, psnr_db)
    require_complete(tmp_path / "best", 4)
    assert json.loads((tmp_path / "best/psnr.json").read_text()) == {"step": 4, "psnr_db": 22.0}
    assert weights_file(tmp_path / "best") == tmp_path / "best/ema.safetensors"
    keep_best(tmp_path, 10, 30.0)  # a boundary without a checkpoint, such as the first
    require_complete(tmp_path / "best", 4)
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoints/step-00000008"


def test_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = save(tmp_path, 3)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}


class Crash(BaseException):
    """The end of the process: nothing that could be caught, and no file operation after it."""


OWNERS = {
    "mkdir": Path,
    "write_text": Path,
    "rename": Path,
    "replace": Path,
    "unlink": Path,
    "write_bytes": Path,
    "save": torch,
    "fsync": os,
    "rmtree": shutil,
}


def crash_at(
    monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException | None = None, of: tuple[str, ...] = ()
) -> Callable[[], int]:
    """Let the given file operation of a save, and every later one, fail. Returns a count of the operations."""
    count = 0

    def patch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def operation(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count > number:
                raise error or Crash
            return original(*args, **options)

        monkeypatch.setattr(owner, name, operation)

    for name in of or OWNERS:
        patch(OWNERS[name], name)
    return lambda: count


def test_a_crash_at_any_file_operation_leaves_a_usable_checkpoint(tmp_path: Path) -> None:
    ends = {4: 0, 6: 0}
    for number in range(100):
        run = tmp_path / f"{number}"
        save(run, 2, keep=2)
        save(run, 4, keep=2)
        with pytest.MonkeyPatch.context() as patches:
            patches_count = crash_at(patches, number)
            try:
                save(run, 6, keep=2)
                crashed = False
            except Crash:
                crashed = True
            assert crashed == (patches_count() > number)
        folder = latest_checkpoint(run)
        step = load_state(folder).step
        ends[step] += 1
        require_complete(folder, step)
        save(run, 6, keep=2)  # the resumed run comes by again
        require_complete(latest_checkpoint(run), 6)
        assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]
        if not crashed:
            break
    else:
        pytest.fail("the save never came to its end")
    assert ends[4] >= 12  # folder, five files, six or more fsyncs, rename: all before the pointer moves
    assert ends[6] >= 2


FULL = OSError(errno.ENOSPC, "No space left on device")
WRITES = ("write_text", "write_bytes", "save", "fsync")


@pytest.mark.parametrize("error", [FULL, RuntimeError("unexpected pos")], ids=type)
def test_a_full_disk_leaves_a_whole_checkpoint_and_says_so(tmp_path: Path, error: Exception) -> None:
    with pytest.MonkeyPatch.context() as patches:
        count = crash_at(patches, 1000, of=WRITES)
        save(tmp_path / "whole", 4)
    assert count() >= 15  # the files and their fsyncs
    for number in range(count()):
        run = tmp_path / f"{number}"
        save(run, 2)
        with pytest.MonkeyPatch.context() as patches:
            crash_at(patches, number, error, WRITES)
            with pytest.raises(RunError, match=r"step 4 cannot .*free some space in .*"):
                save(run, 4)
        require_complete(latest_checkpoint(run), load_state(latest_checkpoint(run)).step)
    save(run, 4)
    require_complete(latest_checkpoint(run), 4)


def test_a_disk_that_is_really_full_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 2)
    size = (tmp_path / "checkpoints/step-00000002/optimizer.pt").stat().st_size
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in (100, size // 2, size - 1):  # in the first file, in the middle, at the last byte of the largest
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        try:
            with pytest.raises(RunError, match="the checkpoint of step 4 cannot be written"):
                save(tmp_path, 4)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        require_complete(latest_checkpoint(tmp_path), 2)
        assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    signal.signal(signal.SIGXFSZ, handler)
    save(tmp_path, 4)
    require_complete(latest_checkpoint(tmp_path), 4)


def test_the_state_is_small_plain_json_that_names_no_rank(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    text = (folder / "state.json").read_text()
    assert len(text) < 1000
    assert sorted(json.loads(text)) == ["consumed", "datasets", "feed", "format", "memory", "record", "step"]
    assert not {"rank", "process", "worker", "world"} & set(text.replace('"', " ").split())


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    values = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**values, "format": 99}))
    with pytest.raises(RunError, match="its format is 99, this program reads 2"):
        load_state(folder)


def test_a_run_folder_and_a_checkpoint_folder_stand_for_their_averaged_weights(tmp_path: Path) -> None:
    folder = save(tmp_path, 7)
    assert weights_file(tmp_path) == weights_file(folder) == folder / "ema.safetensors"
    assert weights_file(Path("x.pth")) == Path("x.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"neither a run nor a checkpoint folder: it holds no ema\.safetensors"):
        weights_file(tmp_path / "empty")

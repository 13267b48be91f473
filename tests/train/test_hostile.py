"""Shards, manifests, packs, checkpoints and run folders of people who mean harm (design.md section 7).

Further examples: tests/gen/test_verify.py (members, links, plans), tests/shared/test_format.py (index, entries),
tests/train/networks/test_weights.py, tests/train/record/test_references.py (packs), tests/train/cache
(downloads).
"""

import io
import json
import pickle
import shutil
import signal
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import RunError, UsageError
from shared.images import PNG_END, PNG_RGB, PNG_SIGNATURE, encode_png
from shared.mixing.tasks import find_tasks, read_manifest
from shared.shards.cache import ShardCache
from shared.shards.format import MAX_PATCH, Row, row_key
from shared.shards.manifest import MAX_MANIFEST_BYTES, Manifest, load_manifest
from shared.shards.reader import LostRowError
from shared.storage.places import place
from shared.storage.retry import RetryPolicy
from tests.gen.damage import write_members
from tests.train.command import flags, run
from tests.train.web import serving
from train.record.checkpoint import load_optimizers
from train.record.interval_log import IntervalLog
from train.record.references import load_pack, load_trace
from train.record.resume import require_resumable
from train.record.state import latest_checkpoint, load_state
from train.settings import TrainSettings


class Malicious:
    """Its unpickling creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    shutil.copytree(shards, tmp_path / "shards")
    return tmp_path / "shards"


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / "manifest.json").read_bytes())
    change(values)
    (folder / "manifest.json").write_text(json.dumps(values))


# ---- manifests


@pytest.mark.parametrize(
    "url",
    ["../../../etc/passwd", "/etc/passwd", "a/b.tar", "..tar", "http://evil/a.tar", "a.tar\x00", "a.tar\n", ".tmp.tar"],
)
def test_a_shard_url_that_leads_elsewhere_is_refused(url: str, copy: Path) -> None:
    edit(copy / "noise", lambda values: values["shardlist"][0].update(url=url))
    with pytest.raises(RunError, match="is not a plain file name"):
        find_tasks(copy)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"rows": ' + "9" * 5000 + "}",
        '{"format": "realsr-pairs-v2", "shardlist": [{"nsamples": 1e999}]}',
        '{"format": "realsr-pairs-v2", "shardlist": {"a": 1}}',
        "\x00" * 100,
        "null",
    ],
    ids=["nested arrays", "nested objects", "long number", "infinity", "no list", "zeros", "null"],
)
def test_a_json_bomb_is_an_error_in_words(text: str, copy: Path) -> None:
    (copy / "noise/manifest.json").write_text(text)
    with pytest.raises(RunError, match="is not a manifest of this format"):
        find_tasks(copy)


def test_a_manifest_of_terabytes_is_refused_unread(copy: Path) -> None:
    with (copy / "noise/manifest.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(RunError, match=rf"1099511627776 bytes are more than {MAX_MANIFEST_BYTES}"):
        find_tasks(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(rows=v["rows"] + 10**9 - 8) or v["shardlist"][0].update(nsamples=10**9), "1000000000 rows"),
        (lambda v: v["recipe"].update(patch=10**9), "patch 1000000000 and scale 4, which cannot be"),
        (lambda v: v["recipe"].update(scale=0), "patch 76 and scale 0, which cannot be"),
        (lambda v: v["recipe"].update(patch="76"), "its recipe has patch = '76', no int"),
        (lambda v: v["recipe"].pop("usm"), "its recipe has usm = None, no bool"),
        (lambda v: v.update(photographs=[1]), "the HR images in its manifest have no sha256"),
    ],
)
def test_a_manifest_that_promises_what_cannot_be_is_refused_before_memory_is_taken(
    change: Callable[[dict], object], message: str, copy: Path
) -> None:
    edit(copy / "noise", change)
    with pytest.raises(RunError, match=message):
        read_manifest(copy / "noise", RetryPolicy())


@pytest.mark.parametrize(
    ("key", "value"), [("space", "../../etc"), ("partition", "1000000000x1000000000"), ("partition", "__import__")]
)
def test_a_recipe_of_an_unknown_space_or_partition_is_refused(key: str, value: str, copy: Path) -> None:
    for manifest in copy.glob("*/manifest.json"):
        edit(manifest.parent, lambda values: values["recipe"].update({key: value}))
    with pytest.raises((UsageError, RunError)):
        find_tasks(copy)


# ---- shards


def forge(folder: Path, number: int, members: list[tuple[str, bytes]]) -> None:
    """Write a shard of these members; index, sizes and hashes in the manifest agree with it."""
    manifest = load_manifest(folder)
    path = folder / manifest.shardlist[number].url
    write_members(path, members)
    size, digest = path.stat().st_size, sha256(path.read_bytes()).hexdigest()
    edit(folder, lambda values: values["shardlist"][number].update(filesize=size, sha256=digest))


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is that large, and holds a thousandth of a row."""
    header = struct.pack(">II", width, height) + PNG_RGB
    parts = [PNG_SIGNATURE]
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(3 * width // 1000)))):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts) + PNG_END


def members_of(hr: bytes, patch: int, scale: int = 4) -> list[tuple[str, bytes]]:
    """The members of a shard of eight rows whose first one has this HR image and says that it is so large."""
    lr, members = encode_png(np.zeros((19, 19, 3), np.uint8)), []
    whole = encode_png(np.zeros((76, 76, 3), np.uint8))
    for number in range(8):
        picture, side = (hr, patch) if number == 0 else (whole, 76)
        key = row_key("noise", 0, number)
        row = Row("noise", "train", 0, number, "a", "0", 0, 0, side, scale, "{}", "paper", "CC0", zlib.crc32(picture))
        row = Row(**{**asdict(row), "lr_crc32": zlib.crc32(lr)})
        members += [(f"{key}.hr.png", picture), (f"{key}.json", row.to_json()), (f"{key}.lr.png", lr)]
    return members


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (60_000, f"patch is 60000, scale 4: patch must be a multiple of scale, at most {MAX_PATCH}"),
        (76, r"is \(60000, 60000\) pixels: the row says 76 x 76"),
    ],
)
def test_a_header_of_60_000_pixels_is_refused_before_memory_is_taken(patch: int, message: str, copy: Path) -> None:
    forge(copy / "noise", 0, members_of(bomb(60_000, 60_000), patch))
    (task,) = find_tasks(copy, ["noise"])
    rows = task.train_rows()
    tracemalloc.start()
    for read in (rows.__getitem__, rows.hr):
        with pytest.raises(LostRowError, match=message):
            read(0)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert rows[1].hr.shape == (76, 76, 3)


@pytest.mark.parametrize(("patch", "scale"), [(8192, 4), (76, 2), (152, 4)])
def test_a_row_of_another_size_than_its_dataset_is_refused(patch: int, scale: int, copy: Path) -> None:
    picture = encode_png(np.zeros((patch, patch, 3), np.uint8)) if patch < 1000 else bomb(patch, patch)
    forge(copy / "noise", 0, members_of(picture, patch, scale))
    (task,) = find_tasks(copy, ["noise"])
    into = np.zeros((76, 76, 3), np.uint8), np.zeros((19, 19, 3), np.uint8)
    with pytest.raises(LostRowError):
        task.train_rows().read(0, into)


@pytest.mark.parametrize("name", ["../../escaped.hr.png", "/tmp/escaped.hr.png", "noise-000000-00000.hr.png/../x"])
@pytest.mark.parametrize("remote", [False, True])
def test_a_member_name_that_leads_elsewhere_loses_the_shard_and_writes_nothing(
    name: str, remote: bool, copy: Path, tmp_path: Path
) -> None:
    members = members_of(encode_png(np.zeros((76, 76, 3), np.uint8)), 76)
    forge(copy / "noise", 0, [(name, members[0][1]), *members[1:]])
    with serving(copy) as web:
        folder = web.url if remote else copy
        cache = ShardCache(tmp_path / "cache", 1 << 30, RetryPolicy(()))
        (task,) = find_tasks(place(str(folder)), ["noise"], cache=cache)
        with pytest.raises(LostRowError, match=r"index of .* is damaged"):
            task.train_rows()[0]
    assert not list(tmp_path.rglob("*escaped*"))


def test_an_index_that_promises_another_tar_is_refused(copy: Path) -> None:
    path = copy / "noise" / load_manifest(copy / "noise").shardlist[0].url
    (task,) = find_tasks(copy, ["noise"])
    size, text = path.stat().st_size, path.with_suffix(".idx").read_text()
    words = text.split(" ")
    words[-2] = str(size + (1 << 50))
    path.with_suffix(".idx").write_text(" ".join(words))
    with pytest.raises(LostRowError):
        task.train_rows()[0]


# ---- checkpoints and run folders


@pytest.fixture
def run_folder(whole_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_no_file_of_a_run_folder_runs_code_as_a_pickle(
    run_folder: Path, shards: Path, references: Path, tmp_path: Path
) -> None:
    """Every file in turn is a pickle that would create a file; the run is taken up by a real command."""
    target = tmp_path / "executed"
    checkpoint = latest_checkpoint(run_folder)
    assert checkpoint is not None
    files = [checkpoint / name for name in ("state.json", "optimizer.pt", "model.safetensors", "ema.safetensors")]
    files += [run_folder / name for name in ("latest", "config.yaml", "metrics.jsonl")]
    own = shutil.copytree(references, tmp_path / "references")  # a longer run lengthens them
    argv = flags(shards=shards, references=own, run="run", iterations=20, workers=0)
    for file in files:
        before = file.read_bytes()
        for write in (pickle.dumps, _torch_file):
            file.write_bytes(write({"x": Malicious(target)}))
            outcome = run(argv, tmp_path)
            assert outcome.code in (1, 2), (file.name, outcome.stderr)
            assert len(outcome.errors) == 1, (file.name, outcome.stderr)
            assert "Traceback" not in outcome.stderr, file.name
            assert not target.exists()
        file.write_bytes(before)


def _torch_file(value: object) -> bytes:
    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


LAUGHS = "x0: &x0 [ha]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 12))
LAUGHS += "policy: *x11\n"
"""31 billion of them, if anybody wrote them out."""


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch executed']\n",
        "run: !!python/name:os.system\n",
        LAUGHS,
        "[1, 2]\n",
        "\x00\x01",
    ],
)
def test_a_config_that_holds_more_than_settings_is_refused(text: str, run_folder: Path) -> None:
    (run_folder / "config.yaml").write_text(text)
    with pytest.raises((UsageError, RunError)):
        require_resumable(run_folder, TrainSettings())
    assert not Path("executed").exists()


@pytest.mark.parametrize("text", ["../../elsewhere", "/etc", "..", "", "step-00000015/../../..", "a\x00b", "x" * 5000])
def test_a_pointer_that_leads_out_of_the_run_is_refused(text: str, run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(latest_checkpoint(run_folder), tmp_path / "elsewhere")
    (run_folder / "latest").write_text(text)
    with pytest.raises(RunError, match="points at"):
        latest_checkpoint(run_folder)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"format": 2}', "[]", "null", '{"format": 2, "step": 1, "evil": 1}', "", "\xff"]
)
def test_a_state_that_is_none_is_an_error_in_words(text: str, run_folder: Path) -> None:
    folder = latest_checkpoint(run_folder)
    (folder / "state.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"state"):
        load_state(folder)


@pytest.mark.parametrize(
    "memory", [[], {"weights": 1}, {"weights": [1.0]}, {"weights": ["a"] * 3}, {"weights": [-1, 1, 1]}]
)
def test_a_policy_remembers_a_number_a_task(memory: object, run_folder: Path) -> None:
    folder = latest_checkpoint(run_folder)
    state = json.loads((folder / "state.json").read_bytes())
    num_tasks = len(state["consumed"])
    state["memory"]["policy"] = {"weights": [1] * num_tasks}
    (folder / "state.json").write_text(json.dumps(state))
    assert load_state(folder).memory["policy"] == {"weights": [1] * num_tasks}
    state["memory"]["policy"] = memory
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(RunError, match=r"state\.json holds no state of a run: memory.*policy"):
        load_state(folder)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("write", [pickle.dumps, _torch_file])
def test_an_optimiser_file_never_runs_code(write: Callable[[object], bytes], run_folder: Path, tmp_path: Path) -> None:
    folder = latest_checkpoint(run_folder)
    (folder / "optimizer.pt").write_bytes(write({"generator": Malicious(tmp_path / "executed")}))
    with pytest.raises(RunError, match=r"optimizer\.pt"):
        load_optimizers(folder)
    assert not (tmp_path / "executed").exists()


def test_traces_and_packs_are_never_unpickled(tmp_path: Path) -> None:
    for name, load in (
        ("trace.json", lambda: load_trace(tmp_path)),
        ("p.json", lambda: load_pack(tmp_path / "p.json")),
    ):
        (tmp_path / name).write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
        with pytest.raises(RunError, match="is not a"):
            load()
    assert not (tmp_path / "executed").exists()


def test_a_manifest_that_survives_all_this_is_still_read(copy: Path) -> None:
    assert isinstance(read_manifest(copy / "noise", RetryPolicy()), Manifest)


def mutations(value: object, random: np.random.Generator, count: int) -> Iterator[object]:
    """Copies of plain data with one part, wherever it lies, replaced by something else."""
    junk = [None, True, -1, 10**15, 0.5, "x", "\u2028", [], {}, [None], {"a": []}, [[]], "1" * 300]
    for _ in range(count):
        copy = json.loads(json.dumps(value))
        place = copy
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[random.integers(len(keys))]
            inner = place[key]
            if not isinstance(inner, (list, dict)) or not inner or random.random() < 0.3:
                break
            place = inner
        if random.random() < 0.2:
            del place[key]
        else:
            place[key] = junk[random.integers(len(junk))]
        yield copy


def test_a_mutated_state_is_read_or_refused_in_words(shards: Path, references: Path, tmp_path: Path) -> None:
    argv = flags(shards=shards, references=references, run="run")
    run(argv, tmp_path, signal_after=(signal.SIGTERM, 8))  # in the middle of an interval
    folder = latest_checkpoint(tmp_path / "run")
    assert folder
    path, refused = folder / "state.json", 0
    sound = json.loads(path.read_bytes())
    assert sound["record"]
    for values in mutations(sound, np.random.default_rng(0), 400):
        path.write_text(json.dumps(values))
        try:
            state = load_state(folder)
            log = IntervalLog.from_json(state.record, 4) if state.record else None
            assert log is None or log.to_json()
        except (RunError, ValueError):
            refused += 1
    assert refused > 200

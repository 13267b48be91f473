"""Traces of single-task networks: what they may be compared with, how far they go, and packs of them."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError
from shared.rebalance.references import References, Trace, require_same_protocol
from shared.records import canonical_json
from tests.train.command import flags, run, succeed
from tests.train.conftest import pretend_other_rows
from tests.train.records import require_same_run
from train.record.references import load_pack, load_trace, save_pack, save_trace

PROTOCOL: dict[str, Any] = {
    "network": {"name": "msrresnet", "options": {"num_feat": 4}, "scale": 4},
    "init_sha256": "aa",
    "interval_steps": 5,
    "batch_size": 4,
    "lr": 1e-4,
    "ema": 0.999,
    "flip": True,
    "loss": "l1",
    "train_rows": "bb",
    "val_rows": "cc",
}


def test_a_trace_is_read_back_exactly(tmp_path: Path) -> None:
    trace = Trace("noise", PROTOCOL)
    trace.add(0, [27.123456789012345, 100.0])
    trace.add(5, [1 / 3, 28.5])
    trace.add_other("blur", "dd", 5, [1 / 7, 2.0])
    save_trace(trace, tmp_path)
    assert load_trace(tmp_path) == trace
    assert load_trace(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "noise", "other": 1}'])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(RunError, match="not a trace"):
        load_trace(tmp_path)


def test_the_same_protocol_fits() -> None:
    require_same_protocol(Trace("noise", dict(PROTOCOL)), PROTOCOL, Path("refs/noise"))


@pytest.mark.parametrize("key", PROTOCOL)
def test_another_protocol_is_refused_by_the_key_that_differs(key: str) -> None:
    with pytest.raises(RunError, match=f"reference refs/noise was trained with {key} = 'other'"):
        require_same_protocol(Trace("noise", {**PROTOCOL, key: "other"}), PROTOCOL, Path("refs/noise"))


def test_a_protocol_with_a_setting_that_this_program_does_not_know_is_refused() -> None:
    with pytest.raises(RunError, match="with augmentation = 'mixup', this run has None"):
        require_same_protocol(Trace("noise", {**PROTOCOL, "augmentation": "mixup"}), PROTOCOL, Path("refs/noise"))


def test_references_give_a_row_of_the_table_for_each_task() -> None:
    noise, blur = Trace("noise", {}, {"0": [1.0, 2.0], "5": [3.0, 4.0]}), Trace("blur", {}, {"5": [5.0, 6.0]})
    assert np.array_equal(References([noise, blur]).at(5), [[3.0, 4.0], [5.0, 6.0]])


@pytest.mark.parametrize("step", [10, 3])
def test_a_step_that_the_reference_has_not_reached_is_refused(step: int) -> None:
    references = References([Trace("noise", {}, {"0": [1.0], "5": [3.0]})])
    with pytest.raises(RunError, match=rf"reference of noise has no value at step {step} \(it ends at 5\)"):
        references.at(step)


# ---- packs


def pack_text(**changes: Any) -> str:
    """A pack whose hash is right, with changes in its trace."""
    trace = {"task": "noise", "protocol": {}, "psnr_db": {"0": [27.5, 28.0], "5": [28.0, 28.5]}, **changes}
    return pack_of([trace])


def pack_of(traces: list[Any]) -> str:
    digest = hashlib.sha256(canonical_json(traces)).hexdigest()
    return json.dumps({"format": "realsr-references-v1", "sha256": digest, "traces": traces})


def test_a_pack_is_read_back_exactly(tmp_path: Path) -> None:
    traces = [
        Trace(name, PROTOCOL, {"0": [1 / 3, 27.0], "5": [28.123456789012345, 29.0]}) for name in ("noise", "blur")
    ]
    save_pack(traces, tmp_path / "pack.json")
    assert list(load_pack(tmp_path / "pack.json").values()) == traces
    (tmp_path / "one.json").write_text(pack_text())
    assert load_pack(tmp_path / "one.json")["noise"].psnr_db["5"] == [28.0, 28.5]


HOSTILE = {
    "not JSON": ("\x80\x02}q", "reference pack"),
    "a pickle's bytes": ("cos\nsystem\n(S'true'\ntR.", "reference pack"),
    "a list": ("[]", "format is None"),
    "another format": ('{"format": "x"}', "format is 'x', this program reads"),
    "deep": ("[" * 200_000, "nested too deeply"),
    "deep protocol": (
        '{"format": "realsr-references-v1", "sha256": "", "traces": [{"task": "t", "psnr_db": {}, "protocol": '
        + '{"a":' * 900
        + "1"
        + "}" * 900
        + "}]}",
        "reference pack",
    ),
    "more keys": ('{"format": "realsr-references-v1", "sha256": "", "traces": [], "run": 1}', "nothing else"),
    "no traces": (pack_of([]), "holds no task"),
    "changed": (pack_text().replace("28.5", "38.5"), "changed or damaged"),
    "NaN": (pack_text(psnr_db={"0": [float("nan")]}), "NaN, which is no number"),
    "infinity": (pack_text(psnr_db={"0": [float("inf")]}).replace("Infinity", "1e999"), "'1e999', which is no number"),
    "a string": (pack_text(psnr_db={"0": ["27.5"]}), "element 0 is '27.5': it must be float"),
    "a truth": (pack_text(psnr_db={"0": [True]}), "element 0 is True: it must be float"),
    "no list": (pack_text(psnr_db={"0": 27.5}), "is 27.5: it must be list"),
    "a name for a step": (pack_text(psnr_db={"first": [27.5]}), "'first' is not a step"),
    "a negative step": (pack_text(psnr_db={"-5": [27.5]}), "'-5' is not a step"),
    "a step twice": (pack_text(psnr_db={"5": [27.5], "05": [27.5]}), "'05' is not a step"),
    "a huge step": (pack_text(psnr_db={"9" * 5000: [27.5]}), "is not a step"),
    "ragged": (pack_text(psnr_db={"0": [27.5], "5": [27.5, 28.0]}), "different numbers of images"),
    "no image": (pack_text(psnr_db={"0": []}), "or none"),
    "another field": (pack_text(command="rm"), "'command' is not in the format"),
    "a list for a task": (pack_text(task=["noise"]), "it must be str"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pack_is_refused(name: str, tmp_path: Path) -> None:
    text, message = HOSTILE[name]
    (tmp_path / "pack.json").write_text(text)
    with pytest.raises(RunError, match=message) as caught:
        load_pack(tmp_path / "pack.json")
    assert len(str(caught.value)) < 500


def test_a_huge_pack_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "pack.json").open("wb") as file:
        file.truncate(65 << 20)
    with pytest.raises(RunError, match="holds more than 67108864 bytes"):
        load_pack(tmp_path / "pack.json")


def test_a_run_from_a_pack_is_the_run_from_its_folder(
    shards: Path, references: Path, whole_run: Path, tmp_path: Path
) -> None:
    outcome = succeed(flags(shards=shards, references=references / "references.json", run="run"), tmp_path)
    assert "to train: 1 networks" in outcome.stdout
    assert not (tmp_path / "run/references").exists()
    require_same_run(tmp_path / "run", whole_run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.001}, "was trained with lr = 0.005, this run has 0.001"),
        (
            {"network.options.num_feat": 8},
            "was trained with network = {'name': 'msrresnet', 'options': {'num_block': 1, 'num_feat': 4}",
        ),
        ({"seed": 1}, "was trained with init_sha256 = "),
        ({"interval_steps": 15}, "interval_steps = 5, this run has 15"),
        ({"iterations": 20}, "ends at step 15, this run at 20"),
        ({"mode": "references"}, "is a pack: --mode references needs a folder"),
        (
            {"references": "none.json"},
            "no references in none.json: name a run folder, the folder of the references or a pack",
        ),
    ],
)
def test_a_pack_that_does_not_fit_is_refused_by_name(
    change: dict[str, Any], message: str, shards: Path, references: Path, tmp_path: Path
) -> None:
    settings = {"shards": shards, "references": references / "references.json", "run": "run", **change}
    outcome = run(flags(**settings), tmp_path)
    assert outcome.code in (1, 2)
    assert message in outcome.errors[0]
    assert not (tmp_path / "run").exists()


def test_a_pack_without_a_task_is_refused(shards: Path, references: Path, tmp_path: Path) -> None:
    traces = load_pack(references / "references.json")
    save_pack([traces["noise"], traces["mild"]], tmp_path / "two.json")
    outcome = run(flags(shards=shards, references="two.json", run="run"), tmp_path)
    assert outcome.errors == ["error: two.json has no reference of task severe: it holds noise, mild"]


def test_a_pack_of_other_validation_sets_is_refused(shards: Path, references: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    pretend_other_rows(tmp_path / "shards/noise-val")
    pack = references / "references.json"
    outcome = run(flags(shards="shards", references=pack, run="run"), tmp_path)
    assert outcome.code == 1
    assert f"reference {pack} was trained with val_rows = " in outcome.errors[0]

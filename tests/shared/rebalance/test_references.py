"""Traces of single-task networks and their packs: both versions, what they may be compared with, and hostile ones."""

import json
import re
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from shared.errors import RunError
from shared.packs import pack
from shared.rebalance.references import (
    PACK_FORMAT,
    OtherTask,
    References,
    Trace,
    pack_references,
    require_same_protocol,
    unpack_references,
)

TASKS = ("mild", "blur", "noise")
IMAGES = ["a", "a", "b"]


def protocol(task: str, **changes: Any) -> dict[str, Any]:
    return {"network": {"name": "msrresnet"}, "lr": 1e-4, "train_rows": f"t-{task}", "val_rows": f"v-{task}", **changes}


def trace(task: str, **changes: Any) -> Trace:
    """A trace of two boundaries that knows all tasks; the value says the network, the task and the step."""
    made = Trace(task, protocol(task), photographs=list(IMAGES))
    for step in (0, 5):
        made.add(step, values(task, task, step))
        for other in TASKS:
            if other != task:
                made.add_other(other, f"v-{other}", step, values(task, other, step))
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def values(network: str, task: str, step: int) -> list[float]:
    return [100.0 * TASKS.index(network) + 10 * TASKS.index(task) + step + k / 10 for k in range(3)]


def unpacked(data: bytes) -> dict[str, Trace]:
    return unpack_references(json.loads(data))


def test_a_pack_is_read_back_exactly() -> None:
    traces = [trace(task) for task in TASKS]
    assert [*unpacked(pack_references(traces)).values()] == traces


def test_a_pack_of_version_1_still_serves_gaps() -> None:
    old = [{"task": task, "protocol": protocol(task), "psnr_db": {"0": [1.0, 2.0]}} for task in TASKS]
    traces = unpacked(pack("realsr-references-v1", "traces", old))
    references = References([traces[task] for task in TASKS])
    assert [row.tolist() for row in references.at(0)] == [[1.0, 2.0]] * 3
    assert asdict(traces["mild"]) == {**old[0], "photographs": [], "others": {}}
    message = (
        "references have no values at step 0 for the network of mild on blur, mild on noise, blur on mild, blur on "
        "noise and 2 more: references of earlier versions know their own task alone"
    )
    with pytest.raises(RunError, match=message):
        references.across(0)


def test_the_values_of_all_networks_on_all_tasks_are_one_table() -> None:
    found, hr_ids = References([trace(task) for task in TASKS]).across(5)
    assert np.array(found).shape == (3, 3, 3)
    assert hr_ids == [IMAGES] * 3
    for j, network in enumerate(TASKS):
        for i, task in enumerate(TASKS):
            assert found[j][i].tolist() == values(network, task, 5)
            assert found[j][i].dtype == np.float64


def test_the_last_step_is_one_that_all_have_reached() -> None:
    longer = trace("mild")
    longer.add(10, [1.0, 2.0, 3.0])
    assert References([longer, trace("blur")]).last_step == 5
    assert Trace("mild", {}).last_step == -1


def test_values_on_another_validation_set_are_missing() -> None:
    moved = trace("blur", protocol=protocol("blur", val_rows="v-other"))
    with pytest.raises(RunError, match="no values at step 5 for the network of mild on blur: "):
        References([trace("mild"), moved]).across(5)
    stale = trace("mild")
    stale.add_other("blur", "v-new", 10, [1.0, 2.0, 3.0])
    assert stale.others["blur"] == OtherTask("v-new", {"10": [1.0, 2.0, 3.0]})


def test_a_task_may_have_other_validation_images_than_the_others() -> None:
    camera = Trace("camera", protocol("camera"), {"5": [30.0, 31.0]}, ["x", "y"])
    camera.add_other("mild", "v-mild", 5, [20.0, 21.0, 22.0])
    mild = trace("mild")
    mild.add_other("camera", "v-camera", 5, [28.0, 29.0])
    references = References([*unpacked(pack_references([mild, camera])).values()])
    assert [row.tolist() for row in references.at(5)] == [values("mild", "mild", 5), [30.0, 31.0]]
    found, hr_ids = references.across(5)
    assert hr_ids == [IMAGES, ["x", "y"]]
    assert [row.tolist() for row in found[1]] == [[20.0, 21.0, 22.0], [30.0, 31.0]]
    mild.add_other("camera", "v-camera", 5, [28.0])
    with pytest.raises(RunError, match="other numbers of values on camera than it has validation images, 2"):
        References([mild, camera]).across(5)


def test_references_that_were_trained_otherwise_predict_nothing() -> None:
    other = trace("blur", protocol=protocol("blur", lr=1e-3))
    with pytest.raises(RunError, match=r"of mild and blur were trained with different lr: 0\.0001 and 0\.001"):
        References([trace("mild"), other]).across(5)


def test_the_tasks_that_were_evaluated_are_no_part_of_the_protocol() -> None:
    require_same_protocol(trace("mild"), protocol("mild"), "refs/mild")
    require_same_protocol(Trace("mild", protocol("mild")), protocol("mild"), "refs/mild")


def test_a_key_that_is_missing_stands_for_what_it_meant_when_it_did_not_exist() -> None:
    old = Trace("mild", protocol("mild"))
    require_same_protocol(old, protocol("mild", schedule="constant"), "refs/mild", {"schedule": "constant"})
    with pytest.raises(RunError, match="trained with schedule = 'constant', this run has 'cosine'"):
        require_same_protocol(old, protocol("mild", schedule="cosine"), "refs/mild", {"schedule": "constant"})


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "one young field alone": ({"photographs": ["a"], "others": None}, "'others' is None: it must be dict"),
    "numbers for names": ({"photographs": [1, 2, 3]}, "field 'photographs', element 0 is 1: it must be str"),
    "other images": ({"photographs": ["a"]}, "different numbers of images"),
    "a list for a table": ({"others": {"blur": []}}, "'others', 'blur' is []: it must be an object"),
    "more keys": ({"others": {"blur": {"val_rows": "", "psnr_db": {}, "x": 1}}}, "field 'x' is not in the format"),
    "no identity": ({"others": {"blur": {"val_rows": 1, "psnr_db": {}}}}, "field 'val_rows' is 1: it must be str"),
    "no table": ({"others": {"blur": {"val_rows": "", "psnr_db": []}}}, "field 'psnr_db' is []: it must be dict"),
    "no step": ({"others": {"blur": {"val_rows": "", "psnr_db": {"x": [1.0, 2.0, 3.0]}}}}, "'x' is not a step"),
    "ragged": (
        {"others": {"blur": {"val_rows": "", "psnr_db": {"0": [1.0], "5": [1.0, 2.0]}}}},
        "different numbers of images",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_trace_of_version_2_is_refused(name: str) -> None:
    changes, message = HOSTILE[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        unpacked(pack(PACK_FORMAT, "traces", [{**asdict(trace("mild")), **changes}]))

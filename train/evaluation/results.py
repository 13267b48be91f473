"""The folder of an evaluation: how it was made, and what was measured of every image."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from shared.errors import RunError, UsageError
from shared.records import canonical_json, read_json
from shared.storage.atomic import write_bytes
from shared.storage.json_lines import JsonLines
from shared.text import short
from train.evaluation.summaries import COLUMNS, ImageResult

CONFIG, RESULTS, OUTPUTS = "evaluation.json", "images.jsonl", "images"
COUNTS = "images"
"""Key of CONFIG with the number of images of each test set that has HR images."""


def begin(out: Path, wanted: dict[str, Any], overwrite: bool) -> None:
    """Begin or go on; further test sets are added to those that the folder holds.

    wanted: what must be equal for two evaluations to be one. Raises `UsageError` that names the difference when the
    folder holds another evaluation.
    """
    begun = read_config(out) if (out / CONFIG).is_file() else {}
    before, now = (dict(config.get("testsets", [])) for config in (begun, wanted))
    ours = {"testsets", COUNTS}
    changed = [name for name, value in wanted.items() if begun.get(name) != value and name not in ours]
    changed += ["testsets"] * any(before[name] != now[name] for name in before.keys() & now.keys())
    if begun and changed and not overwrite:
        name = changed[0]
        raise UsageError(
            f"{out} holds an evaluation with {name} = {short(begun.get(name))}, now it is {short(wanted[name])}: "
            "choose another --out, or --overwrite it"
        )
    if changed:
        for old in (RESULTS, OUTPUTS):
            shutil.rmtree(out / old) if (out / old).is_dir() else (out / old).unlink(missing_ok=True)
        before, begun = {}, {}
    counts = {**begun.get(COUNTS, {}), **wanted[COUNTS]}
    testsets = [[*pair] for pair in {**before, **now}.items()]
    write_bytes(out / CONFIG, canonical_json({**wanted, "testsets": testsets, COUNTS: counts}))


def read_config(out: Path) -> dict[str, Any]:
    """How an evaluation was made, as `begin` wrote it. Raises `UsageError` when the folder holds none."""
    if not (out / CONFIG).is_file():
        raise UsageError(f"{out} is no evaluation: make one with realsr evaluate --out {out}")
    try:
        config = read_json(out / CONFIG)
        sets = config["testsets"]
        if not all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in sets):
            raise ValueError("testsets are not pairs of a name and a hash")
        if not isinstance(config[COUNTS], dict) or not {"border", "rounded"} <= config.keys():
            raise ValueError("it lacks border or rounded, or its images are no counts")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{out / CONFIG} does not describe an evaluation: {error}") from error
    return config


def read_results(out: Path) -> list[ImageResult]:
    """What an evaluation has measured, by test set and image. Raises `RunError` when the folder holds none."""
    order = {name: number for number, (name, _) in enumerate(read_config(out)["testsets"])}
    results = []
    for record in JsonLines(out / RESULTS).read():
        try:
            testset, image, photograph = (record[key] for key in ("testset", "image", "photograph"))
            values = {key: float(record[key]) for key in COLUMNS if key in record}
            place = (order[testset], int(record["number"]))
            results.append((place, ImageResult(testset, str(image), str(photograph), values)))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{out / RESULTS} holds a line that is no measurement ({error!r}): restore it") from error
    return [result for _, result in sorted(results, key=lambda pair: pair[0])]


def unfinished(out: Path) -> list[str]:
    """The test sets of an evaluation of which images are not measured yet, in words; empty when it is finished."""
    counts, measured = read_config(out)[COUNTS], Counter(result.testset for result in read_results(out))
    short_of = {name: count for name, count in counts.items() if measured[name] < count}
    return [f"{measured[name]} of {count} images of {name}" for name, count in short_of.items()]

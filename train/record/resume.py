"""A run goes on with the settings and the files that it was begun with, but for those that alter no sample or loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.effects import IDENTICAL, affecting, completed, is_by_content, with_kept_rules
from shared.errors import RunError, UsageError
from shared.records import read_yaml
from shared.text import short
from train.record.references import TRACE, load_traces
from train.record.state import recorded_identities
from train.settings import CONFIG, TrainSettings

FILE = "--"
"""The state of a run records digests of files beside those of its datasets, under the name of the option."""
INIT, HR, DISCRIMINATOR, VGG19 = f"{FILE}init", f"{FILE}hr", f"{FILE}init-discriminator", f"{FILE}vgg19"
FOLLOWS_THE_END = {
    "estimator.reference": ("final", "earlier gaps were measured to that end"),
    "schedule.name": ("cosine", "the learning rate falls towards that end"),
}
"""Options under which what was done depends on --iterations."""
REMEDY = "give the old value to resume, or another --run"


def begun_settings(folder: Path) -> dict[str, Any] | None:
    """The settings that a run was begun with, as plain data with every option of this version; None before it began.

    Raises `RunError` for a file that holds anything else, `UsageError` as `completed` does.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        saved = read_yaml(path)
        if not isinstance(saved, dict) or not isinstance(saved.get("iterations", 1), int):
            raise ValueError("it holds no settings")
    except ValueError as error:
        raise RunError(f"{path} does not hold the settings of a run: {error}; restore it") from error
    return completed(TrainSettings, saved, path)


def require_resumable(folder: Path, settings: TrainSettings) -> None:
    """Raises `UsageError` when a run in `folder` was begun with settings that make its continuation another run."""
    begun, now = begun_settings(folder), settings.to_plain()
    if begun is None:
        return
    for name in affecting(TrainSettings, *IDENTICAL):
        before, after = begun[name], now[name]
        if is_by_content(TrainSettings, name):  # `require_same_contents` compares the rest
            before, after = before is not None, after is not None
        if before != after:
            raise UsageError(
                f"{folder} was begun with {name} = {short(begun[name])}, now it is {short(now[name])}: {REMEDY}"
            )
    if begun["iterations"] != settings.iterations:
        for name, why in FOLLOWS_THE_END.items():
            if now.get(name.partition(".")[0], {}).get(name.partition(".")[2]) == why[0]:
                raise UsageError(
                    f"{folder} was begun with iterations = {begun['iterations']}: with --{name} {why[0]} the number "
                    f"cannot change, because {why[1]}"
                )
    if begun["iterations"] > settings.iterations:
        raise UsageError(
            f"{folder} was begun with iterations = {begun['iterations']}: a run can be lengthened, not cut"
        )


def references_place(settings: TrainSettings) -> Path:
    """The folder with the runs of the references, or a pack: what --references names, or RUN/references."""
    place = Path(settings.references or f"{settings.run}/references")
    inside = place / "references"  # of a run folder
    return inside if not any(place.glob(f"*/{TRACE}")) and any(inside.glob(f"*/{TRACE}")) else place


def with_rules_of_the_beginning(settings: TrainSettings) -> TrainSettings:
    """The settings, where rules that became the default since give way to those that the run was begun with.

    Without a run that has begun, the references in use tell: a run must follow the rules that they followed.
    """
    begun = begun_settings(Path(settings.run)) if settings.mode == "shared" else None
    if begun is None:
        begun = next((trace.protocol for trace in load_traces(references_place(settings))), None)
    return settings if begun is None else with_kept_rules(settings, begun)


def require_same_contents(folder: Path, contents: Mapping[str, str]) -> None:
    """Raises `UsageError` for a file whose content is not that of the run's beginning, wherever either lies.

    contents: a digest by the name of the option, such as INIT. A file of which the run recorded no digest passes.
    """
    recorded = recorded_identities(folder)
    for name, digest in contents.items():
        if recorded.get(name, digest) != digest:
            raise UsageError(
                f"{folder} was begun with other content of {name} (sha256 {recorded[name][:12]}, now {digest[:12]}): "
                "give the old file or folder to resume, or another --run"
            )

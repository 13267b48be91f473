"""What options affect, and old files: absent options, removed ones, unknown ones."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

import pytest

from shared.config import option, parse
from shared.effects import absent_values, affecting, completed, is_by_content, to_plain
from shared.errors import UsageError


@dataclass(frozen=True)
class Inner:
    removed: ClassVar[Mapping[str, object]] = {"cap": 1.0}
    rate: float = 1.0
    warm_up: bool = option(True, absent=False)


@dataclass(frozen=True)
class Settings:
    seed: int = option(0, "seed", affects="chance")
    init: str | None = option(None, "weights", affects="losses", by_content=True)
    inner: Inner = option(Inner, "rates", affects="losses")
    schedule: str = option("cosine", "schedule", affects="losses", absent="constant")
    run: str = option("x", "folder", affects="place")


def test_names_follow_from_what_options_affect() -> None:
    assert affecting(Settings, "losses", "chance") == ["seed", "init", "inner", "schedule"]
    assert affecting(Settings, "samples") == []
    assert [name for name in Settings.__dataclass_fields__ if is_by_content(Settings, name)] == ["init"]


def test_an_absent_option_has_the_value_that_it_had_in_effect() -> None:
    assert absent_values(Settings) == {"schedule": "constant"}
    old = completed(Settings, {"seed": 3, "inner": {"rate": 2.0}}, "config.yaml")
    inner = {"rate": 2.0, "warm_up": False}
    assert old == {"seed": 3, "init": None, "inner": inner, "schedule": "constant", "run": "x"}
    assert completed(Settings, asdict(Settings()), "config.yaml") == asdict(Settings())


def test_an_option_is_left_out_while_it_means_what_its_absence_means() -> None:
    assert to_plain(Settings(schedule="constant", inner=Inner(warm_up=False))) == {
        "seed": 0,
        "init": None,
        "inner": {"rate": 1.0},
        "run": "x",
    }
    assert to_plain(Settings()) == asdict(Settings())


def test_a_removed_option_is_dropped_where_it_had_no_effect_and_refused_where_it_had() -> None:
    assert completed(Settings, {"inner": {"cap": 1.0}}, "config.yaml")["inner"] == {"rate": 1.0, "warm_up": False}
    with pytest.raises(UsageError, match=r"config.yaml has cap = 0.1, an option that was removed: version 0\.1 can"):
        completed(Settings, {"inner": {"cap": 0.1}}, "config.yaml")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UsageError, match=r"config\.yaml has an option 'colour' that this version does not know"):
        completed(Settings, {"colour": 1}, "config.yaml")


def test_an_old_file_is_a_configuration_still(tmp_path) -> None:
    (tmp_path / "old.yaml").write_text("seed: 4\ninner: {cap: 1.0, rate: 3.0}\n")
    for words in (["--config", str(tmp_path / "old.yaml")], [f"--config={tmp_path / 'old.yaml'}"]):
        assert parse(Settings, [*words, "--run", "y"], "p", "") == Settings(seed=4, inner=Inner(3.0), run="y")
    (tmp_path / "old.yaml").write_text("inner: {cap: 0.5}\n")
    with pytest.raises(UsageError, match=r"old.yaml has cap = 0.5"):
        parse(Settings, ["--config", str(tmp_path / "old.yaml")], "p", "")

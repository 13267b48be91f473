"""Plain data from strangers: JSON, YAML and dataclasses, whatever is in them."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from shared.records import MAX_CONTAINERS, MAX_DEPTH, canonical_json, from_plain, parse_json, read_json, read_yaml


@dataclass(frozen=True)
class Inner:
    names: list[str]


@dataclass(frozen=True)
class Record:
    step: int
    rates: dict[str, list[float]]
    kind: Literal["a", "b"] = "a"
    inner: Inner | None = None
    pair: tuple[int, float] = (0, 0.0)
    anything: Any = field(default_factory=dict)


WHOLE = {"step": 3, "rates": {"x": [1, 2.5]}}


def test_a_record_is_made_of_plain_data_all_deep() -> None:
    assert from_plain(Record, WHOLE) == Record(3, {"x": [1, 2.5]})
    values = {**WHOLE, "kind": "b", "inner": {"names": ["n"]}, "pair": [1, 2], "anything": [{}]}
    assert from_plain(Record, values) == Record(3, {"x": [1, 2.5]}, "b", Inner(["n"]), (1, 2), [{}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"fields are \[\]: they must be an object"),
        ({"step": 3}, "field 'rates' is missing"),
        ({**WHOLE, "more": 1}, "field 'more' is not in the format"),
        ({**WHOLE, "step": True}, "field 'step' is True: it must be int"),
        ({**WHOLE, "step": 3.0}, "field 'step' is 3.0: it must be int"),
        ({**WHOLE, "rates": {"x": [1, "2"]}}, "field 'rates', 'x', element 1 is '2': it must be float"),
        ({**WHOLE, "rates": {"x": [True]}}, "field 'rates', 'x', element 0 is True: it must be float"),
        ({**WHOLE, "rates": {"x": None}}, "field 'rates', 'x' is None: it must be list"),
        ({**WHOLE, "kind": "c"}, "field 'kind' is 'c': it must be one of 'a', 'b'"),
        ({**WHOLE, "kind": []}, r"field 'kind' is \[\]: it must be one of"),
        ({**WHOLE, "inner": {"names": 1}}, "field 'inner' field 'names' is 1: it must be list"),
        ({**WHOLE, "inner": 1}, "field 'inner' is 1: it must be an object or null"),
        ({**WHOLE, "pair": [1]}, r"field 'pair' is \[1\]: it must be tuple"),
    ],
)
def test_what_is_no_record_is_refused_by_name(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(Record, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, NaN]", "NaN, which is no number"),
        ("[1e999]", "'1e999', which is no number"),
        (f"[1{'0' * 400}]", "a whole number of 401 digits"),
        ('["\\ud800"]', "surrogates not allowed"),
        ('{"\\udfff": 1}', "surrogates not allowed"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        (f"[{'[],' * MAX_CONTAINERS}[]]", f"more than {MAX_CONTAINERS} lists"),
        (b"\xff", "codec can't decode"),
        ("", "Expecting value"),
    ],
    ids=["NaN", "infinity", "digits", "surrogate", "surrogate key", "bomb", "deep", "many", "latin-1", "empty"],
)
def test_json_that_no_file_of_ours_holds_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_sound_json_is_read_as_it_was_written(tmp_path) -> None:
    value = {"é": ["\\u", "\u2028", -(2**63), 2**64 - 1, 1e-300, None, True], "deep": [[[[{}]]]]}
    assert parse_json(canonical_json(value)) == value
    (tmp_path / "x.json").write_bytes(canonical_json(value))
    assert read_json(tmp_path / "x.json") == value
    with pytest.raises(ValueError, match="more than 5 bytes"):
        read_json(tmp_path / "x.json", 5)


def test_yaml_is_read_within_bounds(tmp_path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: [1, {b: null}]\n")
    assert read_yaml(path) == {"a": [1, {"b": None}]}
    for text, message in {
        "a: [": "expected the node content",
        "{" * 100_000: "nested too deeply",
        "a: &x 1\nb: *x": "alias",
        "!!python/object/apply:os.system [ls]": "could not determine a constructor",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_yaml(path)

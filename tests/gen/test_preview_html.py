"""The page of `gen.preview --out sheet.html` stands alone, counts every row, and is safe to open whatever it shows."""

import base64
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import gen.preview
from gen.preview_html import COLOURS, KERNELS
from gen.preview_rows import read_rows
from shared.degradation.plan import Plan
from shared.errors import RunError
from shared.images import decode
from shared.shards.reader import Dataset

SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "line", "path", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def pictures(self) -> list[np.ndarray]:
        """HR and LR of the rows shown."""
        prefix = "data:image/png;base64,"
        found = [image["src"] for image in self.all("img") if image["src"].startswith(prefix)]
        return [decode(base64.b64decode(source.removeprefix(prefix)), "picture") for source in found]

    def charts(self) -> dict[str, ElementTree.Element]:
        """SVG of each chart by its title."""
        prefix = "data:image/svg+xml;base64,"
        found = {image["alt"]: image["src"] for image in self.all("img") if image["src"].startswith(prefix)}
        return {
            title: ElementTree.fromstring(base64.b64decode(source.removeprefix(prefix)))
            for title, source in found.items()
        }


@pytest.fixture
def page(tmp_path):
    """page(*arguments) makes a page and parses it."""

    def make(*arguments) -> Page:
        assert gen.preview.main([*map(str, arguments), "--out", str(tmp_path / "sheet.html")]) == 0
        return Page((tmp_path / "sheet.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture(scope="module")
def mild(render, tmp_path_factory):
    return render(tmp_path_factory.mktemp("mild"), "--subspace", "mild")


def test_pictures_are_hr_and_lr_of_evenly_spread_rows(page, rendered):
    pictures = page(rendered, "--rows", "2").pictures()
    expected = [picture for row in (2, 7) for picture in Dataset(rendered)[row][:2]]
    assert len(pictures) == 4
    assert all(np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True))


def test_the_page_is_well_formed_and_loads_nothing(page, rendered, mild):
    shown = page(rendered, mild)
    assert shown.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in shown.tags}
    addresses = [value for _, attributes in shown.tags for name, value in attributes.items() if name in ("src", "href")]
    assert all(address.startswith("data:image/") for address in addresses)
    (policy,) = [meta["content"] for meta in shown.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_the_plans_of_all_rows_are_read(rendered):
    rows = [Dataset(rendered)[number].row for number in range(10)]
    expected = [Plan.from_json(row.plan) for row in rows], [(row.hr_sha256, row.crop_y, row.crop_x) for row in rows]
    assert read_rows(Dataset(rendered)) == expected


def test_kernel_families_are_shares_of_all_rows(page, rendered):
    cells = [words.strip() for words in page(rendered).words if words.strip()]
    families = Counter(plan.blur1.family for plan in read_rows(Dataset(rendered))[0])
    begin = cells.index("Blur: kernel family") + 2
    expected = [word for f, name in KERNELS.items() if families[f] for word in (name, f"{families[f] / 10:.0%}")]
    assert cells[begin : begin + len(expected) + 1] == [*expected, "Blur: sigma, pixels"]


def test_five_numbers_say_what_was_drawn_of_each_parameter(page, rendered):
    cells = [words.strip() for words in page(rendered).words if words.strip()]
    qualities = [plan.jpeg1 for plan in read_rows(Dataset(rendered))[0]]
    expected = ["100%", *(f"{number:.3g}" for number in np.quantile(qualities, (0, 0.25, 0.5, 0.75, 1)))]
    begin = cells.index("JPEG: quality")
    assert cells[begin + 1 : begin + 14] == ["share", "min", "25%", "50%", "75%", "max", "noise", *expected]
    gaussian = [plan for plan in read_rows(Dataset(rendered))[0] if plan.noise1.kind == "gaussian"]
    begin = cells.index("Gaussian noise: sigma of 255")
    assert cells[begin + 7 : begin + 9] == ["noise", f"{len(gaussian) / 10:.0%}"]


def test_every_parameter_has_a_histogram_in_each_degradation(page, rendered):
    figures = page(rendered).charts().keys()
    for stage, size in (("First", "HR"), ("Second", "LR")):
        assert {
            f"{stage} degradation, {title}"
            for title in (
                "Blur: sigma, pixels",
                f"Resize: factor of {size} size",
                "Gaussian noise: sigma of 255",
                "Poisson noise: scale",
                "JPEG: quality",
            )
        } <= figures


def test_histograms_of_a_parameter_have_an_axis_for_each_task_and_the_same_area(page, rendered, render, tmp_path):
    """Two tasks of 10 and 20 rows: what is drawn is the distribution, not the count."""
    larger = render(tmp_path / "larger", "--count", "20", "--subspace", "mild")
    shown = page(rendered, larger)
    chart = shown.charts()["Second degradation, JPEG: quality"]  # which every row has
    areas, tops = [], []
    for colour in COLOURS[:2]:
        (path,) = [each for each in chart.iter(f"{SVG}path") if f"fill: {colour}" in each.get("style", "")]
        points = np.array([[float(n) for n in pair.split(" ")] for pair in re.findall(r"[\d.]+ [\d.]+", path.get("d"))])
        x, y = points[:, 0], points[:, 1]
        areas.append(abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2)
        tops.append(y.min())
    assert areas[0] == pytest.approx(areas[1], rel=1e-4)
    assert tops[0] < tops[1]  # mild stands above noise


def test_several_datasets_and_folders_of_datasets_share_a_page(page, rendered, mild, tmp_path):
    shown = page(rendered, mild.parent, "--rows", "1")
    assert "mild, noise" in shown.words
    assert len(shown.pictures()) == 4
    swatches = [attributes["style"] for attributes in shown.all("i") if attributes.get("class") == "swatch"]
    assert [f"background:{colour}" for colour in COLOURS[:2]] == swatches[:2]


def test_datasets_of_one_name_are_told_apart_by_their_folders(page, rendered, dataset):
    shown = page(rendered, dataset, "--rows", "1")
    assert f"{rendered}, {dataset}" in shown.words


def test_paths_may_follow_the_options(rendered, tmp_path):
    assert gen.preview.main(["--rows", "1", "--out", str(tmp_path / "a.html"), str(rendered)]) == 0
    assert gen.preview.main([str(rendered), "--rows", "1", "--out", str(tmp_path / "b.html")]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_names_and_licences_of_strangers_are_shown_and_not_executed(page, render, picture, tmp_path):
    evil = "<script>alert(1)&\"'\x1b[2J"
    picture(tmp_path / "hr" / "p.png", 1)
    (tmp_path / "hr" / "p.png").rename(tmp_path / "hr" / f"{evil.replace('/', '')}.png")
    options = ("--split", "val", "--hr", str(tmp_path / "hr"), "--licence", "</td><img src=x onerror=alert(1)>")
    shown = page(render(tmp_path / "out", *options), "--rows", "1")
    assert not shown.all("script")
    assert len(shown.pictures()) == 2
    assert all(image["src"].startswith("data:image/") for image in shown.all("img"))
    assert any("<script>alert(1)&\"'\\x1b[2J.png, at (" in words for words in shown.words)
    assert "</td><img src=x onerror=alert(1)>" in shown.words


def test_a_damaged_index_is_named(dataset, tmp_path):
    sorted(dataset.glob("*.idx"))[1].write_bytes(b"v1.2 0\n")
    with pytest.raises(RunError, match=r"000001.*(damaged|cannot be read|cut short)"):
        gen.preview.main([str(dataset), "--out", str(tmp_path / "sheet.html"), "--rows", "1"])

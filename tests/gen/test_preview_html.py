"""The page of `gen.preview --out sheet.html` stands alone, counts every row, and is safe to open whatever it shows."""

import base64
import re
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import gen.preview
from gen.preview_html import COLOURS, FAMILIES, read_plans
from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError
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
    assert read_plans(Dataset(rendered)) == [Plan.from_json(Dataset(rendered)[row].row.plan) for row in range(10)]


def test_kernel_families_are_shares_of_all_rows(page, rendered):
    shown = page(rendered)
    families = Counter(plan.blur1.family for plan in read_plans(Dataset(rendered)))
    chart = shown.charts()["blur 1: kernel family, share of rows"]
    texts = [element.text.strip() for element in chart.iter(f"{SVG}text")]
    found = [family for family in FAMILIES if families[family]]
    assert texts == [*(FAMILIES[family] for family in found), *(f"{families[family] / 10:.0%}" for family in found)]


def test_every_parameter_has_a_histogram_in_each_degradation(page, rendered):
    figures = page(rendered).charts().keys()
    for stage, size in ((1, "HR"), (2, "LR")):
        assert {
            f"blur {stage}: kernel family, share of rows",
            f"blur {stage}: sigma, pixels",
            f"resize {stage}: factor of {size} size",
            f"noise {stage}: Gaussian, sigma of 255",
            f"noise {stage}: Poisson, scale",
            f"JPEG {stage}: quality",
        } <= figures


def test_outlines_of_a_histogram_have_the_same_area(page, rendered, render, tmp_path):
    """Two datasets of 10 and 20 rows: what is drawn is the distribution, not the count."""
    larger = render(tmp_path / "larger", "--count", "20", "--subspace", "mild")
    shown = page(rendered, larger)
    chart = shown.charts()["JPEG 2: quality"]  # which every row has
    styles = [f"fill: none; stroke: {colour}" for colour in COLOURS[:2]]
    outlines = [path for path in chart.iter(f"{SVG}path") if path.get("style", "").startswith(tuple(styles))]
    assert len(outlines) == 2
    areas = []
    for path in outlines:
        points = np.array([[float(n) for n in pair.split(" ")] for pair in re.findall(r"[\d.]+ [\d.]+", path.get("d"))])
        heights = points[:, 1].max() - points[:, 1]
        areas.append(float(np.sum(np.diff(points[:, 0]) * (heights[1:] + heights[:-1]) / 2)))
    assert areas[0] == pytest.approx(areas[1], rel=1e-4)


def test_several_datasets_and_folders_of_datasets_share_a_page(page, rendered, mild, tmp_path):
    shown = page(rendered, mild.parent, "--rows", "1")
    assert {"Rows of noise", "Rows of mild"} <= set(shown.words)
    assert len(shown.pictures()) == 4
    assert sum(attributes.get("class") == "swatch" for attributes in shown.all("i")) == 4  # table and legend


def test_several_datasets_fit_no_png(rendered, mild, tmp_path):
    with pytest.raises(UsageError, match=r"2 datasets fit no PNG sheet: give one, or a name that ends in \.html"):
        gen.preview.main([str(rendered), str(mild), "--out", str(tmp_path / "sheet.png")])


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

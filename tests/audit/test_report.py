import io
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from apple_seg.audit import AuditSettings, audit, compare
from apple_seg.audit.gallery import LINES, draw
from apple_seg.data import Case, Cohort, Groups
from apple_seg.errors import GroupError

GROUPS = Groups(by={"site": ["a<b>", "c&d"]}, reference="site = a<b>")
SETTINGS = AuditSettings(resamples=50, gallery=2)
VOID = {"meta", "img", "br"}


class Memory:
    def __init__(self, arrays):
        self.arrays = arrays

    def names(self):
        return frozenset(self.arrays)

    def open(self, name):
        content = io.BytesIO()
        np.save(content, self.arrays[name])
        return content.getvalue()


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    arrays, sites = {}, []
    for place in range(16):
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[4 : 10 + place % 4, 6:16] = 1
        arrays[f"m{place}.npy"] = mask
        arrays[f"i{place}.npy"] = (mask[..., None] * 90 + rng.integers(0, 60, (20, 24, 3))).astype(
            np.uint8
        )
        sites.append("a<b>" if place % 2 else "c&d")
    table = pd.DataFrame(
        {
            "case": [f"i{place}.npy" for place in range(16)],
            "mask": [f"m{place}.npy" for place in range(16)],
            "cluster": [f"p{place}" for place in range(16)],
            "split": "test",
            "site": sites,
        }
    )
    return Cohort(table, Memory(arrays), {"lesion": 1})


def moved(steps):
    """A segmentor that is off by some pixels, more so for later cases."""

    def predict(cases):
        return [np.roll(c.mask, steps + int(c.key[1:-4]) % 3, axis=2) for c in cases]

    return predict


@pytest.fixture(scope="module")
def comparison(cohort):
    caveats = ["Clusters are <lesions> & not patients."]
    return compare(
        moved(2), moved(1), cohort, GROUPS, settings=SETTINGS, caveats=caveats, progress=False
    )


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.links, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_parser_of_these_tests_finds_what_is_wrong():
    with pytest.raises(AssertionError):
        parsed("<p><b></p></b>")
    assert parsed('<img src="http://x">').links == ["http://x"]


def test_the_report_is_one_well_formed_file_that_needs_no_network(comparison, tmp_path):
    comparison.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = parsed(text)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert len(page.links) == 2 + len(comparison.pictures)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "@import" not in text
    assert "url(" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_report_says_the_verdict_before_any_number_and_escapes_what_it_is_given(comparison):
    from apple_seg.audit.report import comparison_html

    text = comparison_html(comparison)
    said = "".join(parsed(text).text)
    body = said[said.index("Host and perturbed host", said.index("break-inside")) :]
    answer = str(comparison.change_verdict.answer)
    assert body.index(answer) < body.index(comparison.change_verdict.definition)
    assert body.index(answer) < body.index("all cases")
    assert "Clusters are <lesions> & not patients." in said
    assert "<lesions>" not in text
    assert "site = a&lt;b&gt;" in text


def test_the_report_of_one_host_has_its_difference_and_its_pictures(cohort, tmp_path):
    found = audit(moved(2), cohort, GROUPS, settings=SETTINGS, progress=False)
    found.to_html(tmp_path / "audit.html")
    text = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert str(found.difference_verdict.answer) in text
    assert len(parsed(text).links) == 1 + len(found.pictures) == 1 + 2 * 2


def test_the_gallery_holds_the_worst_and_the_most_changed_of_each_group(comparison):
    cases = comparison.cases
    for group in GROUPS.labels:
        mine = cases[cases["group"] == group]
        shown = [p.case for p in comparison.pictures if (p.group, p.kind) == (group, "worst")]
        assert shown == mine.nsmallest(2, "host_dice")["case"].tolist()
        gained = [
            p.case for p in comparison.pictures if (p.group, p.kind) == (group, "most gained")
        ]
        assert gained == mine.nlargest(2, "change_dice")["case"].tolist()
    assert not [p for p in comparison.pictures if p.kind == "most lost"]  # none lost
    assert all(p.png.startswith(b"\x89PNG") for p in comparison.pictures)


def test_only_the_pictured_cases_are_predicted_twice(cohort):
    seen = []

    def predict(cases):
        seen.extend(case.key for case in cases)
        return moved(1)(cases)

    found = audit(predict, cohort, GROUPS, settings=SETTINGS, progress=False)
    assert seen[:16] == cohort.table["case"].tolist()
    assert sorted(seen[16:]) == sorted(picture.case for picture in found.pictures)


@pytest.mark.parametrize("shape", [(3, 30, 40), (1, 30, 40), (1, 30, 40, 6)])
def test_contours_of_each_mask_are_drawn_over_the_image_also_in_volumes(shape):
    image = np.zeros(shape, dtype=np.float32)
    masks = {}
    for place, name in enumerate(LINES):
        mask = np.zeros((1, *shape[1:]), dtype=bool)
        mask[:, 4 + 6 * place : 10 + 6 * place, 8:30, ...] = True
        if mask.ndim == 4:
            mask[..., :4] = False  # only slices 4 and 5 hold anything
        masks[name] = mask
    case = Case("x", "p", image, masks.pop("truth"), None, {})
    picture = np.asarray(Image.open(io.BytesIO(draw(case, masks))).convert("RGB")).astype(int)
    for line in LINES.values():
        colour = [int(line.colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert (np.abs(picture - colour).sum(axis=-1) < 40).any()
    blank = draw(case, {"host": np.zeros_like(masks["host"])})
    plain = np.asarray(Image.open(io.BytesIO(blank)).convert("RGB")).astype(int)
    host = [int(LINES["host"].colour[at : at + 2], 16) for at in (1, 3, 5)]
    assert not (np.abs(plain - host).sum(axis=-1) < 40).any()


def test_files_say_the_same_and_a_failed_write_leaves_nothing(comparison, tmp_path, monkeypatch):
    comparison.to_json(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(comparison.to_json())
    comparison.to_csv(tmp_path / "r.csv")
    read = pd.read_csv(tmp_path / "r.csv")
    np.testing.assert_allclose(read["change_dice"], comparison.to_frame()["change_dice"])

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    before = (tmp_path / "r.json").read_bytes()
    with pytest.raises(OSError, match="disk full"):
        comparison.to_json(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.json"]


def test_the_terminal_shows_verdict_groups_and_caveats(comparison):
    console = Console(record=True, width=200, file=io.StringIO())
    comparison.render(console)
    text = console.export_text()
    assert f"change: {comparison.change_verdict.answer}" in text
    assert "site = a<b> minus site = c&d" in text
    assert "Clusters are <lesions>" in text


def test_groups_that_do_not_fit_are_an_error_before_anything_is_predicted(cohort):
    def never(_):
        raise AssertionError("predicted")

    with pytest.raises(GroupError, match="no column 'age'"):
        audit(never, cohort, Groups(by={"age": [60]}, reference="age < 60"), progress=False)

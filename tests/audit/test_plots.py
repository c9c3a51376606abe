"""Drawings inside the page: text stays text, and nothing is told by colour alone."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from apple_seg.audit.inference.intervals import estimate
from apple_seg.audit.report.bars import Bar, Reference, bars
from apple_seg.audit.report.canvas import CYCLE, LOOKS
from apple_seg.audit.report.clouds import before_after, distributions
from apple_seg.audit.report.forest import Guide, Mark, Row, forest

AWKWARD = ["a<b> & c", "$1 to $5", "50 % _x_ ^2", "年齢 >= 60", "\\alpha {"]


def found(value, se=0.01):
    return estimate(value, se, 20.0, 0.95, n=(50, 25))


def rows(labels):
    return [
        Row(label, (Mark("host", found(0.8)), Mark("perturbed", found(0.82)))) for label in labels
    ]


def words(drawn):
    """Return the text of an SVG as a reader of XML sees it."""
    root = ElementTree.fromstring(drawn)
    return " ".join("".join(one.itertext()) for one in root.iter() if one.tag.endswith("}text"))


def luminance(colour):
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_labels_stay_text_whatever_they_hold():
    drawn = forest(rows(AWKWARD), name="one", xlabel="mean $Dice$", zero=True)
    said = "".join(words(drawn).split())
    for label in (*AWKWARD, "mean $Dice$"):
        assert "".join(label.split()) in said


def test_a_drawing_may_stand_beside_another_in_one_page():
    drawn = [forest(rows(["a"]), name=name, xlabel="x") for name in ("one", "two", "one")]
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in drawn]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert drawn[0] == drawn[2]  # the same every time: no date, no chance
    for text in drawn:
        assert text.startswith("<svg")
        assert "<style" not in text
        assert "<metadata" not in text
        used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', text))
        assert used <= set(re.findall(r'\bid="([^"]+)"', text))


def test_series_are_told_apart_by_shape_and_dashes_too_and_stand_out_from_white():
    for looks in (list(LOOKS.values()), list(CYCLE)):
        assert len({look.marker for look in looks}) == len(looks)
        assert len({look.colour for look in looks}) == len(looks)
    assert len({look.hatch for look in CYCLE}) == len(CYCLE)
    for look in LOOKS.values():
        assert 1.05 / (luminance(look.colour) + 0.05) >= 3  # WCAG 1.4.11
    assert 1.05 / (luminance("#ffff00") + 0.05) < 3  # the formula can say no


def test_an_estimate_without_an_interval_is_a_point_and_one_without_a_value_is_nothing():
    nan = float("nan")
    whole = forest([Row("a", (Mark("host", found(0.5)),))], name="n", xlabel="x")
    point = forest([Row("a", (Mark("host", found(0.5, se=nan)),))], name="n", xlabel="x")
    nothing = forest([Row("a", (Mark("host", found(nan, se=nan)),))], name="n", xlabel="x")
    host = LOOKS["host"].colour
    assert whole.count(host) > point.count(host) > nothing.count(host) == 0


def test_the_guide_is_named_and_stands_where_it_says():
    guide = Guide("most a group may lose: 0.01", (-0.01,))
    drawn = forest([Row("a", (Mark("change", found(0.0)),))], name="n", xlabel="x", guide=guide)
    assert guide.label in words(drawn)
    assert guide.label not in words(forest(rows(["a"]), name="n", xlabel="x"))


def test_clouds_are_one_picture_and_small_whatever_the_number_of_cases():
    rng = np.random.default_rng(0)
    sizes = []
    for count in (1_500, 100_000):
        scores = {"a": {"host": rng.random(count)}, "b": {"host": rng.random(count)}}
        drawn = distributions(scores, name="n", xlabel="Dice")
        assert drawn.count("<image") >= 1
        sizes.append(len(drawn))
    assert sizes[1] < 1.2 * sizes[0] < 400_000


def test_empty_groups_are_drawn_as_nothing():
    drawn = distributions({"a": {"host": np.array([])}}, name="n", xlabel="Dice")
    assert "a" in words(drawn)
    before_after(np.array([]), np.array([]), margin=0.01, name="n", title="a")


def test_cases_that_gained_and_lost_have_marks_of_their_own():
    before = np.full(30, 0.5)
    drawings = [
        before_after(before, before + step, margin=0.01, name="n", title="a")
        for step in (-0.1, 0.0, 0.1)
    ]
    assert len(set(drawings)) == 3


@pytest.mark.parametrize("value", [0.3, 0.5, 0.9, float("nan")])
def test_bars_name_their_row_and_the_line_that_they_are_held_against(value):
    drawn = bars(
        {"site 1": {"host": Bar(value, value - 0.1, value + 0.1)}},
        name="n",
        xlabel="AUC",
        base=0.5,
        reference=Reference(0.65, "what the masks give away"),
    )
    assert "what the masks give away" in words(drawn)
    assert "site 1" in words(drawn)

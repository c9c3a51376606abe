"""The report as HTML: one well-formed file that holds everything and needs nothing."""

import re

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores, compare_scores
from apple_seg.audit.report import ModelCard, audit_html
from apple_seg.data import Groups
from reports import (
    AGE,
    SETTINGS,
    parsed,
    rich_audit,
    rich_comparison,
    scores_of,
    site_survey,
    table_of,
)


@pytest.fixture(scope="module")
def comparison():
    return rich_comparison()


@pytest.fixture(scope="module")
def page(comparison):
    return parsed(audit_html(comparison, sites=site_survey()))


def test_the_parser_of_these_tests_finds_what_is_wrong():
    with pytest.raises(AssertionError):
        parsed("<p><b></p></b>")
    assert parsed('<img src="http://x"><a href="y">z</a>').links == ["http://x", "y"]
    assert parsed('<h2 id="a">one <b>two</b></h2>').headings == [(2, "one ")]


def test_the_report_is_one_file_that_points_to_nothing_outside(comparison, tmp_path):
    comparison.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = parsed(text)
    outside = [link for link in page.links if not link.startswith(("#", "data:image/"))]
    assert outside == []
    assert sum(link.startswith("data:image/jpeg") for link in page.links) == len(
        comparison.pictures
    )
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_every_link_within_the_page_has_its_place_and_no_id_stands_twice(page):
    assert len(set(page.ids)) == len(page.ids)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert "answer" in inside
    assert inside <= set(page.ids)


def test_the_verdict_comes_before_any_figure_and_limits_before_the_tables(page, comparison):
    said = page.said
    order = [
        "What did the perturber do?",
        str(comparison.change_verdict.answer),
        comparison.change_verdict.definition,
        "Dice of the worst group",
        "The numbers that decided",
        "What may not be concluded",
        "Limits of the numbers",
        "Mean Dice by age",
    ]
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_the_report_has_a_section_for_everything_that_was_asked_for(page, comparison):
    titles = [title for _, title in page.headings]
    for title in (
        "The answer",
        "To be kept in mind",
        "By age",
        "All attributes that were looked at",
        "What means hide: single cases",
        "Along age",
        "The group, or what goes with it?",
        "Leakage and influence, site by site",
        "Cases with their contours",
        "Empty masks, and what they are worth",
        "All measures",
        "The numbers of other tools",
        "How it was decided",
        "Model card section",
    ):
        assert title in titles, title
    for group in comparison.by_group:
        assert {f"{group}: {kind}" for kind in ("worst", "most gained", "most lost")} <= set(titles)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1


def test_what_the_user_gave_is_escaped_and_legible(page, comparison):
    text = audit_html(comparison)
    assert "Clusters are <lesions> & not patients." in page.said
    assert "<lesions>" not in text
    assert "<i>tag</i>" not in text
    assert "<i>tag</i>|pipe = m & `co`" in page.said


def test_a_report_of_one_host_shows_no_change_and_one_of_two_does(page):
    audited = parsed(audit_html(rich_audit()))
    assert "perturb" not in audited.said.replace("perturber / host", "")
    assert "What did the perturber do?" in page.said


def test_sections_of_what_was_not_measured_are_not_there(comparison):
    titles = {title for _, title in parsed(audit_html(comparison)).headings}
    assert "Leakage and influence, site by site" not in titles
    sizeless = scores_of(table_of()).assign(truth_size=np.nan, predicted_size=np.nan)
    plain = audit_scores(
        sizeless, table_of(), AGE, settings=AuditSettings(metrics=("dice",), curves=())
    )
    titles = {title for _, title in parsed(audit_html(plain)).headings}
    assert (
        not {"Cases with their contours", "Along age", "The group, or what goes with it?"} & titles
    )
    assert "The answer" in titles


def test_the_card_holds_what_was_written_and_marks_what_was_not(comparison):
    bare = parsed(audit_html(comparison)).said
    assert bare.count("[To be written by you:") == 4
    written = ModelCard(
        details={"Segmentor": "U-Net 7 <of> 2024"},
        intended_use="Triage only.",
        training_data="Clinic A.",
        ethical_considerations="None known.",
    )
    full = parsed(audit_html(comparison, card=written)).said
    assert "[To be written by you:" not in full
    for words in ("Segmentor: U-Net 7 <of> 2024", "Triage only.", "Clinic A.", "None known."):
        assert words in full


@pytest.mark.parametrize("cases", [0, 1, 2, 9])
def test_a_group_with_hardly_a_case_is_no_error(cases):
    table = table_of(60).assign(age=["70"] * cases + ["30"] * (60 - cases))
    scores = scores_of(table)
    groups = Groups(by={"age": [60]}, reference="age < 60")
    found = compare_scores(scores, scores, table, groups, settings=SETTINGS)
    assert "not enough cases" in parsed(audit_html(found)).said


def test_scores_that_are_all_alike_or_not_there_are_no_error():
    table = table_of(60)
    for dice in (0.8, np.nan):
        scores = scores_of(table, empties=False).assign(dice=dice)
        found = compare_scores(scores, scores, table, AGE, settings=SETTINGS)
        parsed(audit_html(found))
    nothing = audit_scores(scores, table, AGE, settings=SETTINGS)
    assert "These cases cannot tell" in parsed(audit_html(nothing)).said


def test_of_two_words_for_a_number_none_is_lost(comparison):
    """Every group's mean, as JSON has it, stands in the page."""
    said = parsed(audit_html(comparison)).said
    for audit in (comparison.host, comparison.perturbed):
        for found in audit.by_group.values():
            assert f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in said
    for found in comparison.by_group.values():
        assert f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]" in said


def test_twelve_groups_with_long_names_are_legible():
    names = [f"a hospital with quite a long name, number {place}" for place in range(12)]
    table = table_of(240).assign(clinic=[names[place % 12] for place in range(240)])
    groups = Groups(by={"clinic": names}, reference=f"clinic = {names[0]}")
    found = audit_scores(scores_of(table), table, groups, settings=SETTINGS)
    said = parsed(audit_html(found)).said
    assert all(f"clinic = {name}" in said for name in names)
    assert pd.Series([f"clinic = {name} (few)" in said for name in names]).all()

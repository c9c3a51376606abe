"""A report refers to what it holds, and shows no column of nothing."""

import re

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores, compare_scores
from apple_seg.audit.report import audit_html, audit_markdown
from apple_seg.audit.report.group_tables import main_table
from apple_seg.data import Groups
from reports import parsed, rich_audit, rich_comparison

SEX = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
RARE = Groups(by={"site": ["a", "b"]}, reference="site = a")
QUICK = AuditSettings(resamples=50, permutations=0)


def scores_alone(count=200, *, seed=0, shift=0.0):
    """Return Dice and nothing else, worse for f, and who is f."""
    rng = np.random.default_rng(seed)
    names = [f"c{place}" for place in range(2 * count)]
    dice = np.r_[rng.normal(0.85, 0.03, count), rng.normal(0.75, 0.03, count)] + shift
    scores = pd.DataFrame({"case": names, "cluster": names, "class": "lesion", "dice": dice})
    scores = scores.assign(truth_size=np.nan, predicted_size=np.nan)
    site = ["b"] * 40 + ["a"] * (2 * count - 40)
    table = pd.DataFrame({"case": names, "sex": np.repeat(["m", "f"], count), "site": site})
    return scores, table


def named_in(text):
    """Return what a report's headings are, and what its sentences send a reader to."""
    headings = {line.lstrip("# ") for line in text.splitlines() if line.startswith("#")}
    return headings, set(re.findall(r"(?:[Ss]ee|sections?) “([^”]+)”", text))


@pytest.mark.parametrize("kind", ["audit", "comparison"])
def test_reports_of_scores_alone_send_nobody_to_a_section_that_is_not_there(kind):
    scores, table = scores_alone()
    if kind == "audit":
        found, whole = audit_scores(scores, table, SEX, settings=QUICK), rich_audit()
    else:
        after = scores_alone(shift=0.01)[0]
        found = compare_scores(scores, after, table, SEX, settings=QUICK)
        whole = rich_comparison()
    headings, referred = named_in(audit_markdown(found))
    assert referred <= headings
    assert "The group, or what goes with it?" not in parsed(audit_html(found)).said
    # A report that has the sections does refer to them.
    headings, referred = named_in(audit_markdown(whole))
    assert {"The group, or what goes with it?", "Limits of the numbers"} <= referred <= headings


def test_scores_without_sizes_and_distances_say_nothing_of_units_and_show_no_sizes():
    said = audit_markdown(audit_scores(*scores_alone(), SEX, settings=QUICK))
    assert "Distances and the NSD" not in said
    assert "unit of distances see" not in said
    assert "Size of the true mask" not in said
    whole = audit_markdown(rich_audit())
    assert "Distances and the NSD's tolerance (2) are in pixels" in whole
    assert "unit of distances see “Limits of the numbers”" in whole
    assert "Size of the true mask" in whole


def test_the_limits_of_another_attribute_stand_with_it():
    found = audit_scores(*scores_alone(), SEX, others=[RARE], settings=QUICK)
    # 200 cases a sex are enough; 40 of site b are not.
    assert not any("The group with the least to go by" in note for note in found.notes)
    folded = audit_markdown(found).split("By site: ")[1]
    assert "The group with the least to go by, site = b, has 40 scored cases" in folded
    assert folded.count("Every case is a cluster of its own") == 1  # in the card; said before


def test_of_several_training_runs_no_column_of_dashes_stands_for_the_bootstrap():
    host, table = scores_alone()
    runs = [scores_alone(shift=shift)[0] for shift in (0.01, 0.02)]
    one, several = (
        compare_scores(host, some, table, SEX, settings=QUICK) for some in (runs[0], runs)
    )
    assert main_table(one).columns[-1] == "bootstrap interval of the change"
    assert all(row[-1].startswith("[") for row in main_table(one).rows)
    assert main_table(several).columns == ("", "cases", "host", "perturbed", "change")
    assert "bootstrap" not in main_table(several).note
    said = audit_markdown(several)
    assert said.count("No bootstrap stands beside them: it draws patients again") == 1
    assert "The bootstrap draws clusters within groups" not in said
    assert "No bootstrap" not in audit_markdown(one)
    # Nor does a bootstrap that was not asked for.
    without = audit_scores(host, table, SEX, settings=AuditSettings(resamples=0, permutations=0))
    assert main_table(without).columns == ("", "cases", "mean")
    assert "No bootstrap stands beside them. " in audit_markdown(without)

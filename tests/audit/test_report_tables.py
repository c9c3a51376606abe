"""The tables of a report: counts and shares by hand, and nothing of the result lost on the way."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores, compare_scores
from apple_seg.audit.report.case_tables import (
    cases_table,
    empties_table,
    moved_table,
    none_empty,
    quantiles_table,
)
from apple_seg.audit.report.confounding import confounding, curves
from apple_seg.audit.report.group_tables import (
    attributes_table,
    harm_table,
    main_table,
    spread_table,
)
from apple_seg.audit.report.method import method
from apple_seg.audit.report.metric_tables import class_table, metrics_table, policy_table
from apple_seg.audit.report.reading import cuts_of
from apple_seg.audit.report.sites import sites
from apple_seg.audit.tables import Form, Table, counted, form_of
from apple_seg.data import Groups
from reports import AGE, AWKWARD, rich_audit, rich_comparison, scores_of, site_survey, table_of

GROUPS = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
QUICK = AuditSettings(metrics=("dice", "hd95"), resamples=0, permutations=0)


@pytest.fixture(scope="module")
def comparison():
    return rich_comparison()


def small(dice, truth, predicted):
    """Return an audit of six masks, three a group."""
    names = [f"c{place}" for place in range(6)]
    scores = pd.DataFrame({"case": names, "cluster": names, "class": "a", "dice": dice})
    scores = scores.assign(truth_size=truth, predicted_size=predicted, unit="px")
    table = pd.DataFrame({"case": names, "sex": ["m"] * 3 + ["f"] * 3})
    return audit_scores(scores, table, GROUPS, settings=QUICK)


def rows_of(table):
    return {row[0]: row[1:] for row in table.rows}


def test_misses_and_false_positives_are_counted_apart_with_their_own_shares():
    nan = float("nan")
    found = small([0.9, 0.0, nan, 0.0, 0.8, 0.8], [5, 5, 0, 0, 5, 5], [5, 0, 0, 5, 5, 5])
    rows = rows_of(empties_table(found))
    # masks, truth empty, prediction empty, both, missed (of 2 with a truth), false positive (of 1)
    assert rows["sex = m"] == ("3", "1 (33.3 %)", "2 (66.7 %)", "1 (33.3 %)", "1 (50.0 %)", "0")
    assert rows["sex = f"] == ("3", "1 (33.3 %)", "0", "0", "0", "1 (100.0 %)")
    assert none_empty(found) == ""
    assert "no mask is empty" in none_empty(small([0.9] * 6, 5, 5))
    unknown = none_empty(small([0.9] * 6, np.nan, np.nan))  # not known is not none
    assert "is not known here" in unknown


def test_small_groups_are_marked_and_unknown_cases_are_counted():
    rows = rows_of(cases_table(rich_audit(240)))
    assert rows["unknown"][0] == "6 (2.5 %)"
    assert {name for name in rows if name.endswith("(few)")} == {
        f"{one} (few)" for one in AGE.labels
    }
    table = table_of(240).assign(age=["30"] * 160 + ["70"] * 80)
    groups = Groups(by={"age": [60]}, reference="age < 60")
    found = audit_scores(scores_of(table), table, groups, settings=QUICK)
    assert list(rows_of(cases_table(found))) == ["age < 60", "age >= 60 (few)"]


def test_gains_and_losses_beyond_the_margin_are_those_counted_by_hand():
    names = [f"c{place}" for place in range(6)]
    scores = pd.DataFrame({"case": names, "cluster": names, "class": "a", "dice": 0.5})
    scores = scores.assign(truth_size=5, predicted_size=5, unit="px")
    table = pd.DataFrame({"case": names, "sex": ["m"] * 3 + ["f"] * 3})
    after = scores.assign(dice=[0.6, 0.505, 0.3, 0.5, 0.5, 0.52])
    found = compare_scores(scores, after, table, GROUPS, settings=QUICK)
    rows = rows_of(moved_table(found))
    assert rows["sex = m"] == (
        "3",
        "1 (33.3 %)",
        "1 (33.3 %)",
        "1 (33.3 %)",
        "+0.1000",
        "-0.2000",
    )
    assert rows["sex = f"] == ("3", "1 (33.3 %)", "2 (66.7 %)", "0", "+0.0200", "+0.0000")


def test_the_main_table_has_the_worst_group_first_and_all_cases_last(comparison):
    table = main_table(comparison)
    assert table.columns[2:5] == ("host", "perturbed", "change")
    assert table.rows[0][0] == f"{comparison.worst_group} (host's worst)"
    assert table.rows[-1][0] == "all cases"
    assert len(table.rows) == 3 + 2 + 1
    change = comparison.by_group[comparison.worst_group]
    assert table.rows[0][4] == f"{change.value:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
    assert table.rows[0][5] == f"[{change.bootstrap_low:+.4f}, {change.bootstrap_high:+.4f}]"


def test_whether_a_group_was_harmed_is_said_of_each(comparison):
    answers = {row[0]: row[-1] for row in harm_table(comparison).rows}
    assert set(answers) == set(comparison.by_group)
    for label, fine in comparison.non_inferior.items():
        assert answers[label].startswith({True: "no", False: "yes", None: "not known"}[fine])
    worse = rich_comparison(shift=-0.05)
    assert all(row[-1].startswith("yes") for row in harm_table(worse).rows)
    assert {row[-1] for row in harm_table(comparison).rows} != {
        row[-1] for row in harm_table(worse).rows
    }


def test_every_difference_of_every_attribute_stands_with_its_p_values(comparison):
    from apple_seg.audit.inference.holm import holm

    table = attributes_table(comparison)
    assert len(table.rows) == 2 + 1
    assert [text.split(":")[0] for text in table.parts.values()] == ["age", "<i>tag</i>|pipe"]
    corrected = holm(
        {one.attribute: one.p_values for one in (comparison.host, comparison.others[0].host)}
    )
    p = corrected[AWKWARD.attribute][AWKWARD.labels[1]]
    assert table.rows[-1][3] == f"{p:.3f}"
    alone = attributes_table(audit_alone())
    assert "p, corrected" in table.columns
    assert "p, corrected" not in alone.columns


def audit_alone():
    table = table_of(60).assign(sex=["m", "f"] * 30)
    return audit_scores(scores_of(table), table, GROUPS, settings=QUICK)


def test_all_metrics_stand_with_their_direction_and_every_row_is_as_long_as_its_head(comparison):
    table = metrics_table(comparison)
    heads = " ".join(table.parts.values())
    for name in ("Dice", "IoU", "HD95", "volume error", "Size of the predicted mask"):
        assert name in heads
    assert "less is better" in heads
    assert "0 is best" in heads
    tables = [table, policy_table(comparison), class_table(comparison), spread_table(comparison)]
    tables += [quantiles_table(comparison), empties_table(comparison), cases_table(comparison)]
    for one in tables:
        assert one.rows
        assert all(len(row) == len(one.columns) for row in one.rows), one.title


def test_policies_and_classes_hold_the_numbers_of_the_result(comparison):
    table = policy_table(comparison)
    names = list(comparison.host.policies)
    place = table.columns.index("fairseg")
    start = next(at for at, head in table.parts.items() if head == "change")
    last = table.rows[start + 5][place]  # all cases
    assert last.startswith(f"{comparison.change_policies['fairseg'].overall.value:+.4f}")
    assert table.columns[1 + names.index("skip")] == "skip (used here)"
    rim = comparison.change_by_class["rim"].overall.value
    assert class_table(comparison).rows[-1][3].startswith(f"{rim:+.4f}")
    assert class_table(audit_scores_of_one_class()).rows == []


def audit_scores_of_one_class():
    return small([0.9] * 6, 5, 5)


def test_adjusted_differences_stand_beside_the_raw_one_with_the_cases_that_they_use(comparison):
    blocks = confounding(comparison).blocks
    table = next(block.table for block in blocks if block.kind == "tabled")
    assert [row[0] for row in table.rows[:5]] == [
        "raw",
        "alike in mask size (regression)",
        "alike in mask size (matching)",
        "alike in mask size and site (regression)",
        "alike in mask size and site (matching)",
    ]
    used = comparison.host.adjusted[1].used[AGE.labels[1]]
    assert table.rows[2][-1] == f"{100 * used:.1f} %"


def test_a_curve_has_the_cuts_of_its_groups_and_says_how_far_it_falls(comparison):
    plots = curves(comparison).blocks[1]
    fall = comparison.host.curves["age"].fall.value
    assert f"host {fall:+.4f}" in plots.caption
    assert [plot.title for plot in plots.plots] == ["Mean", "Change"]
    assert "cuts between groups" in plots.plots[0].draw()


@pytest.mark.parametrize(
    ("by", "column", "cuts"),
    [
        ({"age": [60]}, "age", [60.0]),
        ({"age": [40.5, 60]}, "age", [40.5, 60.0]),
        ({"sex": ["m", "f"], "age": [-1, 0, 7]}, "age", [-1.0, 0.0, 7.0]),
        ({"a (b)": [3]}, "a (b)", [3.0]),
        ({"page": [3]}, "age", []),
        ({"sex": ["m", "f"]}, "sex", []),
    ],
)
def test_cuts_are_read_off_the_labels_of_groups(by, column, cuts):
    groups = Groups(by=by, reference=_first(by))
    assert cuts_of(groups.labels, column) == cuts


def _first(by):
    """Return a label that any declaration of these columns has."""
    return ", ".join(
        f"{name} = {values[0]}" if isinstance(values[0], str) else f"{name} < {values[0]:g}"
        for name, values in by.items()
    )


def test_sites_are_numbered_and_stand_beside_what_the_masks_give_away():
    section = sites(site_survey())
    tables = [block.table for block in section.blocks if block.kind == "tabled"]
    assert tables[0].rows[0][0] == "1: encoder.blocks.0.attention.projection.output.norm"
    leakage, influence = next(block for block in section.blocks if block.kind == "plots").plots
    assert "site 1, host, linear probe: 0.80 [0.70, 0.90]" in leakage.alt
    assert "site 2, perturbed" not in leakage.alt  # there is no perturber
    assert "what the host's masks give away" in leakage.draw()
    assert "site 2, age >= 60" in influence.alt


def test_numbers_are_written_with_the_digits_that_their_metric_deserves():
    assert form_of("dice").number(0.91849) == "0.918"
    assert form_of("dice").difference.number(0.91849) == "+0.9185"
    assert form_of("hd95").number(12.345) == "12.3"
    assert form_of("truth_size").difference.number(-1234.5) == "-1,234"
    assert Form().number(float("nan")) == "-"
    assert counted(3, 12) == "3 (25.0 %)"
    assert counted(0, 0) == "0"


def test_columns_of_words_are_told_from_columns_of_numbers():
    table = Table(
        "t", ("", "a", "b", "c"), [("x", "1 [0, 2]", "no", "w" * 40), ("y", "-", "yes", "")]
    )
    assert table.prose == {2, 3}


def test_every_setting_is_said_with_what_it_is(comparison):
    blocks = method(comparison).blocks
    declared = next(one.table for one in blocks if one.kind == "tabled")
    assert [row[0] for row in declared.rows] == [one.name for one in fields(AuditSettings)]
    assert [row[0] for row in declared.rows if not row[2]] == []

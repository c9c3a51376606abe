"""Groups are what was declared; unknown is no group; nothing is guessed."""

import numpy as np
import pandas as pd
import pytest

from apple_seg.data import UNKNOWN, Groups
from apple_seg.errors import GroupError

TABLE = pd.DataFrame(
    {
        "age": ["59.9", "60", "", "80", "NA", " 12 "],
        "sex": ["male", "female", "female", "Unknown", "male", "female"],
    }
)


@pytest.mark.parametrize(
    ("by", "labels", "codes"),
    [
        ({"age": [60]}, ("age < 60", "age >= 60"), [0, 1, -1, 1, -1, 0]),
        (
            {"age": [18, 60]},
            ("age < 18", "18 <= age < 60", "age >= 60"),
            [1, 2, -1, 2, -1, 0],
        ),
        ({"sex": ["male", "female"]}, ("sex = male", "sex = female"), [0, 1, 1, -1, 0, 1]),
        (
            {"age": [60], "sex": ["male", "female"]},
            (
                "age < 60, sex = male",
                "age < 60, sex = female",
                "age >= 60, sex = male",
                "age >= 60, sex = female",
            ),
            [0, 3, -1, -1, -1, 1],
        ),
    ],
)
def test_cuts_values_and_crossings_give_codes_and_labels(by, labels, codes):
    groups = Groups(by=by, reference=labels[-1])
    assert groups.labels == labels
    assert groups.codes(TABLE).tolist() == codes
    assert groups.reference_code == len(labels) - 1
    assert groups.attribute == " x ".join(by)


def test_numbers_may_come_as_numbers():
    table = pd.DataFrame({"age": [10, 60, np.nan, 61.5]})
    assert Groups(by={"age": [60]}, reference="age < 60").codes(table).tolist() == [0, 1, -1, 1]


def test_what_counts_as_unknown_is_declared():
    groups = Groups(by={"sex": ["m", "f"]}, reference="sex = m", unknown=("?",))
    assert groups.codes(pd.DataFrame({"sex": ["m", "?"]})).tolist() == [0, UNKNOWN]
    with pytest.raises(GroupError, match="row 1: sex is 'unknown'"):
        groups.codes(pd.DataFrame({"sex": ["m", "unknown"]}))


@pytest.mark.parametrize("value", ["old", "60,5", "inf", "60 years"])
def test_an_age_that_is_no_number_is_a_fault_and_no_unknown(value):
    groups = Groups(by={"age": [60]}, reference="age < 60")
    with pytest.raises(GroupError, match="not a number"):
        groups.codes(pd.DataFrame({"age": ["5", value]}))
    codes, faults = groups.assign(pd.DataFrame({"age": ["5", value]}))
    assert codes.tolist() == [0, UNKNOWN]
    assert [fault.row for fault in faults] == [1]


def test_a_value_that_was_not_declared_is_a_fault():
    groups = Groups(by={"sex": ["male", "female"]}, reference="sex = male")
    with pytest.raises(GroupError, match="'MALE', not one of 'male', 'female'"):
        groups.codes(pd.DataFrame({"sex": ["male", "MALE"]}))


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(GroupError, match="no column 'skin' to group by; the columns are: age, sex"):
        Groups(by={"skin": [3]}, reference="skin < 3").codes(TABLE)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ({}, "no attribute"),
        ({"age": []}, "list its values"),
        ({"age": "60"}, "list its values"),
        ({"age": [60, 18]}, "ascending"),
        ({"age": [60, 60]}, "ascending"),
        ({"age": [float("nan")]}, "ascending"),
        ({"age": [60, "old"]}, "ascending"),
        ({"sex": ["male"]}, "two different values"),
        ({"sex": ["male", "male"]}, "two different values"),
        ({"sex": ["male", "Unknown "]}, "as a group and as unknown"),
        ({"age": [60]}, "the reference 'nothing' is not one of"),
    ],
)
def test_a_declaration_that_makes_no_groups_is_refused(by, words):
    with pytest.raises(GroupError, match=words):
        Groups(by=by, reference="nothing")

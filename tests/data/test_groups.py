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
    with pytest.raises(GroupError, match="row 2 of the table: sex is 'unknown'"):
        groups.codes(pd.DataFrame({"sex": ["m", "unknown"]}))


def test_a_value_that_fits_no_group_goes_by_its_case_and_not_by_a_place():
    groups = Groups(by={"sex": ["m", "f"]}, reference="sex = m")
    table = pd.DataFrame({"case": [*"abcdefgh"], "sex": ["m", *"xyzxyzx"]})
    with pytest.raises(GroupError) as caught:
        groups.codes(table)
    said = str(caught.value)
    assert said.startswith(
        "7 values fit no declared group: case b: sex is 'x', not one of 'm', 'f'"
    )
    assert "case f: sex is 'y'" in said
    assert "case g" not in said
    assert "; and 2 more. Correct them" in said
    with pytest.raises(GroupError, match=r"^1 value fits no declared group: case b: "):
        groups.codes(table[:2])


@pytest.mark.parametrize(
    ("by", "given", "label"),
    [
        ({"age": [60]}, "age<60", "age < 60"),
        ({"age": [60]}, " age  <60 ", "age < 60"),
        ({"age": [18, 60]}, "18<=age<60", "18 <= age < 60"),
        ({"sex": ["m", "f"]}, "sex=f", "sex = f"),
        ({"age": [60], "sex": ["m", "f"]}, "age>=60,sex=m", "age >= 60, sex = m"),
        ({"x": ["a b", "ab"]}, "x = ab", "x = ab"),
    ],
)
def test_blanks_in_the_reference_do_not_matter(by, given, label):
    groups = Groups(by=by, reference=given)
    assert groups.reference == label
    assert groups.reference_code == groups.labels.index(label)
    # What differs in more than blanks is another group, or none.
    with pytest.raises(GroupError, match="is not one of the declared groups"):
        Groups(by=by, reference=given + "1")


def test_a_reference_that_could_be_several_but_for_its_blanks_is_refused():
    by = {"x": ["a b", "ab"]}
    assert Groups(by=by, reference="x = a b").reference == "x = a b"
    with pytest.raises(GroupError, match=r"'x=ab'.* could be several of the declared groups"):
        Groups(by=by, reference="x=ab")


def test_a_name_that_is_nearly_right_is_proposed():
    with pytest.raises(GroupError, match=r"no column 'Age' \(did you mean 'age'\?\) to group by"):
        Groups(by={"Age": [60]}, reference="Age < 60").codes(TABLE)
    with pytest.raises(
        GroupError, match=r"'sex = mael' \(did you mean 'sex = male'\?\) is not one"
    ):
        Groups(by={"sex": ["male", "female"]}, reference="sex = mael")
    # Of a column that is written in two ways nobody knows which is meant.
    with pytest.raises(GroupError, match=r"'age < 60' is not one of the declared.*'agee < 60'"):
        Groups(by={"agee": [60]}, reference="age < 60")
    with pytest.raises(GroupError, match="no column 'clinic' to group by"):  # like none
        Groups(by={"clinic": ["a", "b"]}, reference="clinic = a").codes(TABLE)


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

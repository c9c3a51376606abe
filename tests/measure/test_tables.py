"""Scores are read as their file has them: nothing is made up, and all that is wrong is told."""

import json
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores, compare_scores
from apple_seg.audit.conventions import conventions
from apple_seg.data import Groups
from apple_seg.errors import CaseError, GroupError
from apple_seg.measure import score
from apple_seg.measure.tables import FORMATS, read_scores
from cohorts import GROUPS, toy_cohort

SEX = Groups(by={"sex": ["F", "M"]}, reference="sex = M")
QUICK = AuditSettings(metrics=("dice",), resamples=0, gallery=0)
DICE = "image_id,sex,age,Dice\na.png,F,50,0.8\nb.png,M,,0.9\nc.png,M,70,\nd.png,,60,0.5\n"
METADATA = "image_id,sex,age\na.png,F,50\nb.png,M,\nc.png,M,70\nd.png,,60\ne.png,F,1\n"


@pytest.fixture
def write(tmp_path):
    def _write(text, name="scores.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return _write


def faults(path, **options):
    """Return the lines of the error that reading gives."""
    with pytest.raises(CaseError) as caught:
        read_scores(path, **options)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_what_score_gives_comes_back_from_its_csv_to_the_last_bit(write):
    cohort = toy_cohort(12)
    rng = np.random.default_rng(0)

    def predict(cases):
        return [case.mask & (rng.random(case.mask.shape) < 0.8) for case in cases]

    scores = score(predict, cohort, progress=False)
    attributes = write(cohort.table.to_csv(index=False), "cases.csv")
    path = write(scores.to_csv(index=False))
    found = read_scores(path)
    assert found.kind == "scores"
    pd.testing.assert_frame_equal(found.scores, scores, check_dtype=False, rtol=0, atol=0)
    assert found.scores["truth_size"].dtype == scores["truth_size"].dtype
    assert found.caveats == ()
    # The manifest's own cluster stands in both files; what groups are made of is joined.
    assert "the scores' file has cluster too" in faults(path, attributes=attributes)[0]
    less = write(cohort.table.drop(columns="cluster").to_csv(index=False), "less.csv")
    joined = read_scores(path, attributes=less)
    read = audit_scores(joined.scores, joined.table, GROUPS, settings=QUICK)
    live = audit_scores(scores, cohort.table, GROUPS, settings=QUICK)
    assert read.to_json() == live.to_json()


def test_the_csv_of_an_audit_gives_the_same_groups_again(write, tmp_path):
    n = 20
    sexes, clusters = [*"FFFMMMFFMM"] * 2, [f"p{i // 2}" for i in range(n)]
    table = pd.DataFrame({"case": [f"c{i}" for i in range(n)], "sex": sexes})
    table.loc[n - 1, "sex"] = ""
    sizes = {"truth_size": [0, *[9] * (n - 1)], "predicted_size": [*[9] * (n - 1), 0]}
    dice = [0.0, *np.random.default_rng(0).random(n - 2), 0.0]
    scores = table[["case"]].assign(cluster=clusters, **{"class": "k"}, **sizes, dice=dice)
    first = audit_scores(scores, table, SEX, settings=QUICK)
    first.to_csv(tmp_path / "audit.csv")
    found = read_scores(tmp_path / "audit.csv")
    assert found.kind == "audit"
    assert "under the policy" in found.caveats[0]
    groups = Groups(by={"group": ["sex = F", "sex = M"]}, reference="group = sex = M")
    again = audit_scores(found.scores, found.table, groups, settings=QUICK)
    assert first.difference["sex = F"].known
    assert again.difference["group = sex = F"] == first.difference["sex = F"]
    assert again.overall == first.overall
    assert again.counts["unknown"] == first.counts["unknown"]
    assert again.counts["group = sex = F"] == first.counts["sex = F"]


@pytest.mark.parametrize("name", ["dice", "DSC", "Dice Score", "dice-coefficient", "dice_score"])
def test_fairmedfms_columns_are_found_by_its_names(write, name):
    found = read_scores(write(DICE.replace("Dice", name)))
    assert found.kind == "fairmedfm"
    assert found.scores["case"].tolist() == ["a.png", "b.png", "c.png", "d.png"]
    assert found.scores["dice"].tolist() == pytest.approx([0.8, 0.9, np.nan, 0.5], nan_ok=True)
    assert found.scores["class"].unique().tolist() == ["all"]
    assert found.scores["cluster"].equals(found.scores["case"])
    assert SEX.codes(found.table).tolist() == [0, 1, 1, -1]


def test_fairmedfms_command_gives_the_figures_of_the_table_that_we_read(write):
    rng = np.random.default_rng(0)
    lines = [f"{i},{'FM'[i % 2]},{rng.beta(8, 1 + i % 2):.6f}" for i in range(60)]
    path = write("\n".join(["id,sex,dsc", *lines, "60,,0.5", "61,F,"]))
    command = [sys.executable, "-m", "fairmedfm", "score", str(path), "--sensitive", "sex"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = read_scores(path)
    codes = SEX.codes(found.table)
    ours = conventions(found.scores, codes, labels=SEX.labels, policy="skip")["fairmedfm"]
    assert ours.figures == pytest.approx(json.loads(done.stdout)["sex"], abs=1e-9, rel=0)
    assert ours.n_cases == 60


def test_a_metadata_file_is_joined_by_the_name_of_the_case(write):
    scores = write("image_id,dice\nb.png,0.9\na.png,0.8\n")
    found = read_scores(scores, attributes=write(METADATA, "metadata.csv"))
    assert found.table[["case", "sex", "age"]].to_numpy().tolist() == [
        ["b.png", "M", ""],
        ["a.png", "F", "50"],
    ]
    assert "3 cases of" in found.caveats[0]
    renamed = write(METADATA.replace("image_id", "imagePath"), "renamed.csv")
    assert (
        "which column names the case? Of the usual names none"
        in faults(scores, attributes=renamed)[0]
    )
    again = read_scores(scores, attributes=renamed, on="imagePath")
    assert again.table.equals(found.table)


def test_classes_in_columns_become_rows_with_their_own_metrics_and_sizes(write):
    header = "case,patient_id,dice_left lung,HD95_left-lung,dice_heart,truth_size_heart"
    found = read_scores(write(f"{header}\na,p,0.9,3,0.7,5\nb,p,0.8,,,0\n"))
    assert found.scores.columns.tolist() == [
        *("case", "cluster", "class", "truth_size", "predicted_size", "dice", "hd95")
    ]
    nan = np.nan
    expected = [
        ["a", "p", "left lung", nan, nan, 0.9, 3],
        ["a", "p", "heart", 5, nan, 0.7, nan],
        ["b", "p", "left lung", nan, nan, 0.8, nan],
        ["b", "p", "heart", 0, nan, nan, nan],
    ]
    pd.testing.assert_frame_equal(
        found.scores, pd.DataFrame(expected, columns=found.scores.columns), check_dtype=False
    )


def test_columns_that_are_taken_for_classes_are_listed(write):
    found = read_scores(write("case,dice_host,dice_apple,dice_std\na,0.9,0.8,0.1\n"))
    assert "a class each" in found.caveats[0]
    assert "dice_host, dice_apple, dice_std." in found.caveats[0]
    alone = read_scores(write("case,dice,hd95\na,0.9,3\n"))
    assert not any("a class each" in caveat for caveat in alone.caveats)


def test_sizes_that_are_not_known_stay_unknown_through_audit_and_comparison(write):
    found = read_scores(write(DICE))
    assert found.scores[["truth_size", "predicted_size"]].isna().all(axis=None)
    assert "unit" not in found.scores
    assert "The sizes of 4 of 4 masks are not known" in found.caveats[0]
    audited = audit_scores(found.scores, found.table, SEX, settings=QUICK)
    assert audited.cases["truth_size"].isna().all()
    assert np.isnan(audited.figures["truth_size"].overall.value)
    assert audited.by_group["sex = M"].value == pytest.approx(0.9)
    after = found.scores.assign(dice=found.scores["dice"] + 0.01)
    compared = compare_scores(found.scores, after, found.table, SEX, settings=QUICK)
    assert compared.change.overall.value == pytest.approx(0.01)
    sized = "case,dice,truth_size,predicted_size\na,0.5,0,4\n"
    assert read_scores(write(sized)).caveats == ()


def test_cases_without_a_name_go_by_their_line_and_nothing_can_be_joined_to_them(write):
    path = write("sex,dice\nF,0.5\n\nM,0.6\n")
    found = read_scores(path)
    assert found.scores["case"].tolist() == ["row 2", "row 4"]
    assert "go by their line" in found.caveats[0]
    told = faults(path, attributes=write(METADATA.replace("sex", "gender"), "metadata.csv"))
    assert told[0].startswith("2 faults")
    assert told[1].startswith("row 2: row 2 has no row in")


def test_all_that_is_wrong_is_told_at_once_with_its_row(write):
    lines = ["id,dice,pid", "a,92.5,p", "b,x,p", "a,0.5,p", ",0.5,p", "d,inf,p", "e,-0.1", "f,1,"]
    path = write("\n".join(lines))
    assert faults(path, cluster="pid") == [
        f"7 faults in {path}:",
        "row 2: dice is 92.5, outside 0 to 1",
        "row 3: dice is x, no number",
        "row 4: a, class all: stands in row 2 and row 4; once is right",
        "row 5: no name of a case",
        "row 6: dice is inf, not finite",
        "row 7: 2 values for 3 columns",
        "row 8: no cluster",
    ]
    attributes = write("id,sex\nb,F\nb,M\n,F\nd,M\n", "people.csv")
    told = faults(path, cluster="pid", attributes=attributes)
    assert f"row 8: f has no row in {attributes}" in told
    assert told[-3:] == [
        f"2 faults in {attributes}:",
        "row 3: b stands on rows 2, 3; once is expected",
        "row 4: no id",
    ]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n", {}, "holds no scores; the columns are: a, b. known are: scores (what"),
        ("case,dice,DSC\na,1,1\n", {}, "'dice', 'DSC' could all be the Dice"),
        ("case,dice,dice_liver\na,1,1\n", {}, "'dice', 'dice_liver' could all be the Dice"),
        ("case,image,dice\na,b,1\n", {}, "'case', 'image' could all; name it with case="),
        ("case,dice\na,1\n", {"case": "name"}, "'name' is not there"),
        ("case,id,dice\na,b,1\n", {"case": "id"}, "the column 'case' does not name the cases"),
        ("case,dice\na,1\n", {"cluster": "pid"}, "no column 'pid' for the cluster"),
        ("case,dice\na,1\n", {"kind": "scores"}, "no column cluster, class, truth_size"),
        ("case,dice\na,1\n", {"kind": "medpy"}, "no format 'medpy' of scores; known are: scores"),
        ("case,dice\n", {}, "no case: the table is empty"),
        ("case,case,dice\na,a,1\n", {}, "the column 'case' stands twice"),
        ("case,dice\nä,1\n".encode("latin-1"), {}, "is not a CSV in UTF-8"),
        (
            "case,cluster,class,truth_size,predicted_size,dice,hd95\na,p,x,2.5,2,1,-1\n"
            "a,q,y,2,2,1,1\n",
            {},
            "row 2: hd95 is -1, a distance below 0 / row 2: truth_size is 2.5, not a count of "
            "voxels / row 3: a: rows 2, 3 differ beyond scores",
        ),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path, text, options, words):
    path = tmp_path / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert words in " / ".join(faults(path, **options))


def test_a_missing_file_and_a_missing_attribute_are_told(tmp_path, write):
    assert "cannot read" in faults(tmp_path / "nowhere.csv")[0]
    found = read_scores(write("case,dice\na,0.5\n"))
    with pytest.raises(GroupError, match="no column 'sex' to group by"):
        SEX.codes(found.table)


def test_each_format_is_named_and_a_hundred_thousand_cases_take_seconds(write):
    assert set(FORMATS) == {"scores", "audit", "fairmedfm", "nnunet"}
    path = write("\n".join(["id,sex,dice", *(f"{n},F,0.{n}" for n in range(100_000))]))
    start = time.process_time()
    assert len(read_scores(path).scores) == 100_000
    assert time.process_time() - start < 6

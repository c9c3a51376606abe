"""nnU-Net's summary is read as nnU-Net means it."""

import json

import numpy as np
import pandas as pd
import pytest

from apple_seg.audit import AuditSettings, audit_scores
from apple_seg.data import Groups
from apple_seg.errors import CaseError
from apple_seg.measure.nnunet import stem
from apple_seg.measure.tables import read_scores

SEX = Groups(by={"sex": ["F", "M"]}, reference="sex = M")
QUICK = AuditSettings(metrics=("dice",), resamples=0, gallery=0)


def nnunet(metrics, suffix=".nii.gz", folder="/data/labelsTs"):
    """Return a summary as nnU-Net writes it: NaN unquoted, regions as the text of a tuple."""
    cases = [
        {
            "metrics": {
                label: {
                    **{"Dice": dice, "IoU": iou, "FN": 0, "FP": 0, "TN": 9, "TP": 0},
                    **{"n_pred": predicted, "n_ref": truth},
                }
                for label, (dice, iou, truth, predicted) in labels.items()
            },
            "prediction_file": f"/results/{name}{suffix}",
            "reference_file": f"{folder}/{name}{suffix}",
        }
        for name, labels in metrics
    ]
    return json.dumps({"foreground_mean": {}, "mean": {}, "metric_per_case": cases}, indent=4)


def test_a_summary_is_read_label_by_label_and_joined_by_the_files_name(tmp_path):
    def write(text, name):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    nan = float("nan")
    path = write(
        nnunet(
            [
                (
                    "case_2",
                    {"0": (1, 1, 9, 9), "1": (0.5, 1 / 3, 8, 4), "(2, 3)": (nan, nan, 0, 0)},
                ),
                ("case_1", {"0": (1, 1, 9, 9), "1": (0.0, 0.0, 0, 7), "(2, 3)": (1.0, 1.0, 3, 3)}),
            ]
        ),
        "summary.json",
    )
    attributes = "file,patient_id,sex\nimagesTs/case_1.nii.gz,p1,F\nimagesTs/case_2.nii.gz,p2,M\n"
    found = read_scores(path, attributes=write(attributes, "patients.csv"))
    assert found.kind == "nnunet"
    expected = pd.DataFrame(
        [
            ["case_2", "p2", "1", 8, 4, 0.5, 1 / 3],
            ["case_2", "p2", "(2, 3)", 0, 0, nan, nan],
            ["case_1", "p1", "1", 0, 7, 0.0, 0.0],
            ["case_1", "p1", "(2, 3)", 3, 3, 1.0, 1.0],
        ],
        columns=["case", "cluster", "class", "truth_size", "predicted_size", "dice", "iou"],
    )
    pd.testing.assert_frame_equal(found.scores, expected, check_dtype=False)
    audited = audit_scores(found.scores, found.table, SEX, settings=QUICK)
    assert audited.by_group["sex = M"].value == 0.5
    assert (audited.counts["sex = M"].both_empty, audited.counts["sex = F"].false_positives) == (
        1,
        1,
    )
    assert found.caveats == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/a/b.c/case_1.nii.gz", "case_1"),
        ("C:\\data\\case 2.PNG", "case 2"),
        ("case.3", "case.3"),
        (" case_4.nii", "case_4"),
    ],
)
def test_a_case_is_called_as_its_file_without_folders_and_suffix(name, expected):
    assert stem(name) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1", "is no JSON"),
        ('{"results": {"all": []}}', "has no metric_per_case"),
        ('{"metric_per_case": [3]}', "entry 1: no prediction_file, or no metrics"),
        (nnunet([("a", {"1": (1.5, 1, 3, 3)})]), "entry 1: Dice of label 1 is 1.5, outside 0"),
        (nnunet([("a", {"1": (np.nan, 1, 3, 3)})]), "no Dice of label 1, though not both"),
        (nnunet([("a", {"1": (True, 1, 3, 3)})]), "Dice of label 1 is True, no number"),
        (nnunet([("a", {"1": (0.5, 1, 3, "3")})]), "n_pred of label 1 is '3', no number"),
        (nnunet([("a", {"1": (10**400, 1, 3, 3)})]), "entry 1: Dice of label 1 is 1000"),
        (nnunet([("a", {"1": (0.5, 0, 3, 0)})]), "Dice of label 1 is 0.5, though n_pred is 0"),
        (nnunet([("a", {"1": (0.5, 0, 0, 3)})]), "Dice of label 1 is 0.5, though n_ref is 0"),
        (nnunet([("a", {"1": (1, 0, 0, 0)})]), "label 1 is 1, though n_ref and n_pred is 0"),
        (nnunet([("a", {"1": (0, 0.5, 3, 0)})]), "IoU of label 1 is 0.5, though n_pred is 0"),
        ("[" * 100_000, "is no JSON"),
        (
            nnunet([("a", {"1": (1, 1, 3, 3)}), ("b", {"2": (1, 1, 3, 3)})]),
            "entry 2: no label 1",
        ),
        (nnunet([("a", {"1": (1, 1, 3, 3)})] * 2), "a, class 1: stands in entry 1 and entry 2"),
    ],
)
def test_summaries_that_cannot_be_read_say_why(tmp_path, text, words):
    path = tmp_path / "summary.json"
    path.write_text(text)
    with pytest.raises(CaseError, match="summary") as caught:
        read_scores(path)
    assert words in str(caught.value)

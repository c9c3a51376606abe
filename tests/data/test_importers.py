"""Public sets are read as others prepare them."""

import io

import numpy as np
import pytest
from PIL import Image

from apple_seg.data import Groups, check
from apple_seg.data.importers import fairmedfm_manifest
from apple_seg.errors import ManifestError

SEX = Groups(by={"sex": ["Female", "Male"]}, reference="sex = Male")

# As FairMedFM's script for its ultrasound set writes them: pandas' to_csv of these columns.
METADATA = """index,imagePath,labelPath,sex,age,sexBinary
0,image/10__0.png,label/10__0.png,Female,61,F
1,image/10__1.png,label/10__1.png,Female,61,F
2,image/11__0.png,label/11__0.png,Male,,M
3,image/12__0.png,label/12__0.png,unknown,44,M
"""


def write(folder, metadata=METADATA):
    for kind, value in (("image", 90), ("label", 255)):
        (folder / kind).mkdir()
        for name in ("10__0", "10__1", "11__0", "12__0"):
            content = io.BytesIO()
            Image.fromarray(np.full((6, 8), value, np.uint8)).save(content, "PNG")
            (folder / kind / f"{name}.png").write_bytes(content.getvalue())
    (folder / "metadata.csv").write_text(metadata)
    return folder


def test_a_fairmedfm_set_is_one_test_split_whose_cases_are_clusters_of_their_own(tmp_path):
    cohort = fairmedfm_manifest(write(tmp_path), classes={"nodule": 255}).read()
    assert cohort.table["case"].tolist() == [
        *("image/10__0.png", "image/10__1.png", "image/11__0.png", "image/12__0.png")
    ]
    assert cohort.clusters.tolist() == cohort.table["case"].tolist()
    assert len(cohort.split("test")) == 4
    assert cohort[0].mask.shape == (1, 6, 8)
    assert cohort[0].mask.all()
    check(cohort, SEX, splits=["test"], progress=False)
    # Whose sex is not known stays so, though FairMedFM's own column calls that one M.
    assert SEX.codes(cohort.table).tolist() == [0, 0, 1, -1]
    assert cohort.table["sexBinary"].tolist() == ["F", "F", "M", "M"]


def test_a_column_of_patients_that_somebody_added_makes_the_clusters(tmp_path):
    lines = METADATA.splitlines()
    patients = ["patient", "p10", "p10", "p11", "p12"]
    added = "\n".join(f"{line},{patient}" for line, patient in zip(lines, patients, strict=True))
    manifest = fairmedfm_manifest(
        write(tmp_path, added), classes={"nodule": 255}, cluster="patient"
    )
    assert manifest.read().clusters.tolist() == ["p10", "p10", "p11", "p12"]


def test_a_set_that_is_none_of_fairmedfms_says_which_columns_are_missing(tmp_path):
    write(tmp_path, METADATA.replace("imagePath", "image").replace("labelPath", "label"))
    with pytest.raises(ManifestError, match="no column 'imagePath' for the case") as caught:
        fairmedfm_manifest(tmp_path, classes={"nodule": 255}).read()
    assert "no column 'labelPath' for the mask" in str(caught.value)

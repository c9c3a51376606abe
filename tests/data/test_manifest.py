"""A CSV of cases: every fault is found, all at once, with its line."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from apple_seg.data import Groups, Manifest, check
from apple_seg.data.manifest import check_values
from apple_seg.data.sources import MemorySource
from apple_seg.errors import CaseError, ManifestError

AGE = Groups(by={"age": [60]}, reference="age < 60")
HEADER = "image,mask,patient_id,age,split"
GOOD = ["a.png,a_m.png,p1,50,test", "b.png,b_m.png,p2,70,test", "c.png,c_m.png,p3,,test"]


def png(array):
    content = io.BytesIO()
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


FILES = {
    f"{name}{suffix}.png": png(np.full((6, 8), value))
    for name in "abc"
    for suffix, value in (("", 90), ("_m", 1))
}


def manifest(**options):
    return Manifest(root="memory", classes={"lesion": 1}, **options)


def source(lines, header=HEADER, files=None, name="cases.csv"):
    text = lines if isinstance(lines, bytes) else "\n".join([header, *lines]).encode()
    return MemorySource({name: text, **(FILES if files is None else files)})


def faults(lines, *, header=HEADER, **options):
    """Return the faults that reading finds, after proving that the good lines have none."""
    manifest(**options).read_from(source(GOOD, HEADER))
    with pytest.raises(ManifestError) as caught:
        manifest(**options).read_from(source(lines, header))
    return str(caught.value).splitlines()


def check_faults(lines, groups=AGE, files=None, splits=("test",)):
    check(manifest().read_from(source(GOOD)), AGE, splits=["test"], progress=False)
    cohort = manifest().read_from(source(lines, files=files))
    with pytest.raises(ManifestError) as caught:
        check(cohort, groups, splits=splits, progress=False)
    return str(caught.value).splitlines()


def test_a_good_manifest_gives_its_cases():
    cohort = manifest().read_from(source(GOOD))
    assert len(cohort) == 3
    assert cohort.clusters.tolist() == ["p1", "p2", "p3"]
    assert [case.key for case in cohort] == ["a.png", "b.png", "c.png"]
    assert cohort[0].image.shape == (1, 6, 8)
    assert cohort[1].row["age"] == "70"
    assert AGE.codes(cohort.table).tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x.png,a_m.png,p9,50,test", "row 5: image x.png is not there"),
        ("x.png,y.png,p9,50,test", "row 5: mask y.png is not there"),
        ("./a.png,a_m.png,p9,50,test", "row 5: a.png stands on rows 2, 5; a case may stand once"),
        ("d.png,,p1,50,train", "row 5: p1 is in splits 'test', 'train'; a patient may be in one"),
        (",a_m.png,p9,50,test", "row 5: no case"),
        ("d.png,,,50,test", "row 5: no cluster"),
        ("d.png,,p9,50,", "row 5: no split"),
        ("d.png,,p9,50", "row 5: 4 values for 5 columns"),
        ("d.png,,p9,50,test,x", "row 5: 6 values for 5 columns"),
    ],
)
def test_each_fault_of_a_line_is_told_with_its_row(line, expected):
    assert f"  {expected}" in faults([*GOOD, line])


def test_all_faults_are_told_at_once_in_the_order_of_the_rows():
    found = faults([*GOOD, "x.png,y.png,p1,50,train", "a.png,a_m.png,,50,test", "short"])
    assert found[0] == "6 faults in cases.csv:"
    assert [line.strip().split(":")[0] for line in found[1:]] == [
        *["row 5"] * 3,
        *["row 6"] * 2,
        "row 7",
    ]


def test_rows_are_lines_of_the_file_also_after_blank_and_quoted_lines():
    lines = ['a.png,a_m.png,p1,"50\nor so",test', "", ",,,,", "x.png,,p9,5,test"]
    assert "  row 6: image x.png is not there" in faults(lines)


@pytest.mark.parametrize(
    ("header", "options", "expected"),
    [
        ("image,mask,age,split,site", {}, "row 1: no column 'patient_id' for the cluster; the"),
        ("image;mask;patient_id;age;split", {}, "the columns are: image;mask;patient_id;age;split"),
        ("image,mask,patient_id,split,split", {}, "row 1: the column 'split' stands 2 times"),
        ("image,mask,patient_id,case,split", {}, "row 1: the column 'case' is not the case decl"),
    ],
)
def test_a_wrong_header_is_told(header, options, expected):
    assert any(expected in line for line in faults(GOOD, header=header, **options))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column 'image'"),
        (HEADER.encode(), "the table is empty"),
        ("image,mask,patient_id,split\nä,,p,t".encode("latin-1"), "not a CSV in UTF-8"),
        (b'image,mask,patient_id,split\n"a,,p,t', "not a CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_table_of_cases_is_told(content, words):
    with pytest.raises(ManifestError, match=words):
        manifest().read_from(source(content))


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_marks_line_endings_dots_and_backslashes_of_other_systems_do_not_matter(ending):
    lines = [HEADER, ".\\a.png,./a_m.png, p1 ,50,test", *GOOD[1:]]
    content = b"\xef\xbb\xbf" + ending.join(lines).encode()
    cohort = manifest().read_from(source(content))
    plain = manifest().read_from(source(GOOD))
    assert cohort.table[["case", "cluster", "mask"]].equals(
        plain.table[["case", "cluster", "mask"]]
    )


def test_a_manifest_in_a_folder_below_is_found_and_the_remedy_named():
    with pytest.raises(ManifestError, match=r"there is mydata/cases\.csv: name the root .*mydata"):
        manifest().read_from(source(GOOD, name="mydata/cases.csv"))


def test_the_roots_manifest_goes_before_one_where_the_user_happens_to_be(tmp_path, monkeypatch):
    (tmp_path / "cases.csv").write_text("nothing of the kind")
    monkeypatch.chdir(tmp_path)
    assert len(manifest().read_from(source(GOOD))) == 3
    own = tmp_path / "mine.csv"
    own.write_text("\n".join([HEADER, GOOD[0]]))
    assert len(manifest(manifest=str(own)).read_from(source(GOOD))) == 1


def test_a_manifest_without_masks_can_be_read_and_says_that_it_has_none():
    cohort = manifest(mask=None).read_from(source(GOOD))
    assert not cohort.annotated
    assert cohort[0].mask is None
    assert manifest().read_from(source(GOOD)).annotated


@pytest.mark.parametrize("none", [None, ""])
def test_without_a_column_of_clusters_each_case_is_its_own_and_without_splits_all_are_test(none):
    header, lines = "image,mask,age", ["a.png,a_m.png,50", "b.png,b_m.png,70"]
    cohort = manifest(cluster=none, split=none).read_from(source(lines, header))
    assert cohort.clusters.tolist() == ["a.png", "b.png"]
    assert len(cohort.split("test")) == 2
    check(cohort, AGE, splits=["test"], progress=False)
    with pytest.raises(ManifestError) as caught:
        manifest().read_from(source(lines, header))
    assert "no column 'patient_id' for the cluster" in str(caught.value)
    assert "no column 'split' for the split" in str(caught.value)


@pytest.mark.parametrize("role", ["cluster", "split"])
def test_a_column_that_is_there_is_not_passed_over_because_none_is_declared(role):
    lines, header = ["a.png,a_m.png,p1,test"], "image,mask,cluster,split"
    declared = {"cluster": "cluster", "split": "split"}
    assert len(manifest(**declared).read_from(source(lines, header))) == 1
    with pytest.raises(ManifestError, match=f"there is a column '{role}' and none is declared"):
        manifest(**declared | {role: None}).read_from(source(lines, header))


@pytest.mark.parametrize("classes", [{}, {"lesion": 0}, {"a": 1, "b": 1}])
def test_classes_that_no_mask_can_tell_apart_are_refused(classes):
    with pytest.raises(ManifestError, match="different values"):
        Manifest(root="memory", classes=classes)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.png", b"no picture", "row 2: a.png: unreadable"),
        ("a.png", png(np.zeros((8, 6))), "row 2: a_m.png: mask is (6, 8), its image is (8, 6)"),
        ("b_m.png", b"", "row 3: b_m.png: unreadable"),
        ("b_m.png", png(np.full((6, 8), 255)), "row 3: b_m.png: mask holds 255, the declared"),
    ],
)
def test_the_check_opens_every_file(name, content, expected):
    found = check_faults(GOOD, files=FILES | {name: content})
    assert found[1].strip().startswith(expected)


@pytest.mark.parametrize(
    ("lines", "groups", "splits", "expected"),
    [
        (["c.png,,p3,old,test"], AGE, ["test"], "row 4: age is 'old', not a number and not decl"),
        ([], AGE, ["val"], "no case in split 'val'; the splits are: 'test'"),
        (
            ["c.png,,p3,30,val"],
            AGE,
            ["test", "val"],
            "no case of group 'age >= 60' in split 'val'",
        ),
        (
            [],
            Groups(by={"sex": ["f", "m"]}, reference="sex = m"),
            ["test"],
            "row 1: no column 'sex' to group by",
        ),
    ],
)
def test_the_check_finds_groups_that_cannot_be_filled(lines, groups, splits, expected):
    found = check_faults([*GOOD[:2], *lines], groups=groups, splits=splits)
    assert any(line.strip().startswith(expected) for line in found)


def test_the_check_tells_all_faults_at_once_and_leaves_other_splits_alone():
    lines = [*GOOD, "d.png,,p4,x,test", "e.png,,p5,30,val"]
    files = FILES | {"a.png": b"", "b_m.png": b"", "d.png": b"", "e.png": b""}
    found = check_faults(lines, files=files)
    assert found[0] == "4 faults in the cohort:"
    assert [line.strip()[:5] for line in found[1:]] == ["row 2", "row 3", "row 5", "row 5"]


def test_reading_checked_tells_the_faults_of_table_files_and_groups_together(tmp_path):
    def write(lines, files):
        for name, content in source(lines, files=files).files.items():
            (tmp_path / name).write_bytes(content)
        return Manifest(root=tmp_path, classes={"lesion": 1})

    assert len(write(GOOD, FILES).read_checked(AGE, splits=["test"], progress=False)) == 3
    lines = [*GOOD, "x.png,a_m.png,p1,old,val"]
    with pytest.raises(ManifestError) as caught:
        write(lines, FILES | {"a.png": b""}).read_checked(AGE, splits=["test"], progress=False)
    told = str(caught.value)
    for words in ("row 2: a.png: unr", "row 5: image x.png", "row 5: p1 is in", "row 5: age is"):
        assert words in told
    assert told.startswith("4 faults")


def test_many_faults_are_counted_and_only_the_first_shown():
    found = faults([*GOOD, *(f"{number}.png,,q{number},5,test" for number in range(100))])
    assert found[0] == "100 faults in cases.csv:"
    assert found[1] == (
        "  images that are not there (100); paths are relative to the root of the cohort: mend "
        "them, or the root:"
    )
    assert found[2] == "    row 5: image 0.png is not there"
    assert found[-1] == "    and 95 more"
    assert len(found) == 8


def test_a_flood_of_one_kind_hides_no_fault_of_another():
    missing = [f"{number}.png,,q{number},5,test" for number in range(100)]
    twice = ["a.png,,p1,5,test", "d.png,,p1,5,train"]
    found = [line.strip() for line in faults([*GOOD, *missing, *twice, "short"])]
    assert found[0] == "104 faults in cases.csv:"
    kinds = [line for line in found if line.endswith(":")][1:]
    assert [kind.partition(" (")[0] for kind in kinds] == [
        "images that are not there",
        "cases that stand more than once",
        "clusters in several splits",
        "lines with more or fewer values than the header",
    ]
    assert "row 107: short" not in found
    assert "row 107: 1 values for 5 columns" in found
    assert sum(line.startswith("and ") for line in found) == 1
    # As many as can be read are told one by one, in the order of the rows.
    few = [line.strip() for line in faults([*GOOD, *missing[:4], *twice])]
    rows = [line.partition(":")[0] for line in few[1:]]
    assert rows == sorted(rows, key=lambda row: int(row.split()[1]))
    assert len(rows) == 7


def test_files_that_cannot_be_used_are_told_apart_by_what_is_wrong_with_them():
    lines = [f"a{n}.png,a{n}_m.png,p{n},50,test" for n in range(12)]
    files = {f"a{n}.png": FILES["a.png"] for n in range(12)}
    files |= {f"a{n}_m.png": png(np.full((6, 8), 3 if n else 1)) for n in range(12)}
    found = [line.strip() for line in check_faults(lines, files=files | {"a0.png": b"no picture"})]
    unreadable, foreign = (
        next(place for place, line in enumerate(found) if words in line)
        for words in ("cannot be used: unreadable (1)", "cannot be used: mask holds (11)")
    )
    assert found[unreadable + 1].startswith("row 2: a0.png: unreadable")
    assert found[foreign + 1].startswith("row 3: a1_m.png: mask holds 3, the declared")
    assert "and 6 more" in found


def test_values_that_fit_no_group_are_told_with_line_case_and_remedy(tmp_path):
    lines = [f"{name}.png,,p{name},x,test" for name in "abcdefg"]
    cohort = manifest().read_from(
        source(
            ["", *lines], files=dict.fromkeys((f"{name}.png" for name in "abcdefg"), FILES["a.png"])
        )
    )
    with pytest.raises(ManifestError) as caught:
        check_values(cohort, [AGE], "cases.csv")
    found = [line.strip() for line in str(caught.value).splitlines()]
    assert found[1].startswith("values of age that fit no declared group (7); correct them")
    assert found[2].startswith("row 3: age is 'x', not a number and not declared unknown")
    assert found[2].endswith("(case a.png)")
    assert found[-1] == "and 2 more"
    check_values(manifest().read_from(source(GOOD)), [AGE], "cases.csv")


def test_a_column_that_is_nearly_right_is_proposed():
    lines = ["a.png,a_m.png,p1,50,test"]
    found = faults(lines, header="Image,mask,patient,age,split")
    assert any("no column 'image' for the case (did you mean 'Image'?);" in line for line in found)
    assert any("'patient_id' for the cluster (did you mean 'patient'?)" in line for line in found)


def test_a_missing_root_is_told(tmp_path):
    with pytest.raises(CaseError, match="no such file or folder"):
        Manifest(root=tmp_path / "nothing", classes={"lesion": 1}).read()


def test_the_table_of_ten_thousand_cases_is_read_in_seconds():
    lines = [f"{n}.png,{n}.png,p{n // 2},{n % 90},{'ab'[n % 4 // 2]}" for n in range(10_000)]
    files = {f"{n}.png": b"" for n in range(10_000)}
    start = time.perf_counter()
    assert len(manifest().read_from(source(lines, files=files))) == 10_000
    assert time.perf_counter() - start < 5

"""Pictures of single cases: which are chosen, and what is drawn on them."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from apple_seg.audit import AuditSettings, audit, compare
from apple_seg.audit.gallery import LINES, draw
from apple_seg.data import Case, Cohort, Groups

GROUPS = Groups(by={"site": ["a<b>", "c&d"]}, reference="site = a<b>")
SETTINGS = AuditSettings(resamples=50, gallery=2)


class Memory:
    def __init__(self, arrays):
        self.arrays = arrays

    def names(self):
        return frozenset(self.arrays)

    def open(self, name):
        content = io.BytesIO()
        np.save(content, self.arrays[name])
        return content.getvalue()


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    arrays, sites = {}, []
    for place in range(16):
        mask = np.zeros((20, 24), dtype=np.uint8)
        mask[4 : 10 + place % 4, 6:16] = 1
        arrays[f"m{place}.npy"] = mask
        arrays[f"i{place}.npy"] = (mask[..., None] * 90 + rng.integers(0, 60, (20, 24, 3))).astype(
            np.uint8
        )
        sites.append("a<b>" if place % 2 else "c&d")
    table = pd.DataFrame(
        {
            "case": [f"i{place}.npy" for place in range(16)],
            "mask": [f"m{place}.npy" for place in range(16)],
            "cluster": [f"p{place}" for place in range(16)],
            "split": "test",
            "site": sites,
        }
    )
    return Cohort(table, Memory(arrays), {"lesion": 1})


def moved(steps):
    """A segmentor that is off by some pixels, more so for later cases."""

    def predict(cases):
        return [np.roll(c.mask, steps + int(c.key[1:-4]) % 3, axis=2) for c in cases]

    return predict


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def holds(picture, line):
    colour = [int(line.colour[at : at + 2], 16) for at in (1, 3, 5)]
    return (np.abs(picture - colour).sum(axis=-1) < 40).any()


def test_the_gallery_holds_the_worst_and_the_most_changed_of_each_group(cohort):
    found = compare(moved(2), moved(1), cohort, GROUPS, settings=SETTINGS, progress=False)
    for group in GROUPS.labels:
        mine = found.cases[found.cases["group"] == group]
        shown = [p.case for p in found.pictures if (p.group, p.kind) == (group, "worst")]
        assert shown == mine.nsmallest(2, "host_dice")["case"].tolist()
        gained = [p.case for p in found.pictures if (p.group, p.kind) == (group, "most gained")]
        assert gained == mine.nlargest(2, "change_dice")["case"].tolist()
    assert not [p for p in found.pictures if p.kind == "most lost"]  # none lost
    assert all(p.png.startswith(b"\x89PNG") for p in found.pictures)


def test_only_the_pictured_cases_are_predicted_twice(cohort):
    seen = []

    def predict(cases):
        seen.extend(case.key for case in cases)
        return moved(1)(cases)

    found = audit(predict, cohort, GROUPS, settings=SETTINGS, progress=False)
    assert seen[:16] == cohort.table["case"].tolist()
    assert sorted(seen[16:]) == sorted(picture.case for picture in found.pictures)


@pytest.mark.parametrize("shape", [(3, 60, 80), (1, 60, 80), (1, 60, 80, 6)])
def test_contours_of_each_mask_are_drawn_over_the_image_also_in_volumes(shape):
    image = np.zeros(shape, dtype=np.float32)
    masks = {}
    for place, name in enumerate(LINES):
        mask = np.zeros((1, *shape[1:]), dtype=bool)
        mask[:, 8 + 12 * place : 20 + 12 * place, 16:60, ...] = True
        if mask.ndim == 4:
            mask[..., :4] = False  # only slices 4 and 5 hold anything
        masks[name] = mask
    case = Case("x", "p", image, masks.pop("truth"), None, {})
    assert all(holds(pixels(draw(case, masks)), line) for line in LINES.values())
    blank = pixels(draw(case, {"host": np.zeros_like(masks["host"])}))
    assert holds(blank, LINES["truth"])
    assert not holds(blank, LINES["host"])


def test_contours_that_fall_together_are_both_seen():
    mask = np.zeros((1, 60, 80), dtype=bool)
    mask[:, 10:50, 10:70] = True
    case = Case("x", "p", np.zeros((3, 60, 80), dtype=np.float32), None, None, {})
    both = pixels(draw(case, {"host": mask, "perturbed": mask}))
    assert holds(both, LINES["host"])
    assert holds(both, LINES["perturbed"])
    assert not holds(both, LINES["truth"])


def test_contours_differ_by_their_dashes_and_not_by_colour_alone():
    assert len({line.dashes for line in LINES.values()}) == len(LINES)

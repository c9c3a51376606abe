import io

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics.meandice import DiceMetric

from apple_seg.data import Cohort
from apple_seg.data.sources import MemorySource
from apple_seg.measure import EVERY_POLICY, POLICIES, apply_policy, score

NAN = np.nan
EMPTY, FULL = 0, 9


def rows(dice=(0.8, 0.0, 0.0, NAN)):
    """Present, missed, false positive, nothing there and nothing found."""
    return pd.DataFrame(
        {
            "truth_size": [FULL, FULL, EMPTY, EMPTY],
            "predicted_size": [FULL, EMPTY, FULL, EMPTY],
            "dice": dice,
            "iou": [0.7, 0.0, 0.0, NAN],
            "hd95": [2.0, NAN, NAN, NAN],
            "volume_error": [0.1, -1.0, NAN, NAN],
        }
    )


@pytest.mark.parametrize(
    ("policy", "false_positive", "nothing", "distance"),
    [
        ("skip", 0.0, NAN, NAN),
        ("one", 0.0, 1.0, NAN),
        ("monai", NAN, NAN, NAN),
        ("fairseg", 1.0, 0.0, 0.0),
    ],
)
def test_each_policy_gives_its_scores_whichever_was_applied_before(
    policy, false_positive, nothing, distance
):
    for earlier in POLICIES:
        found = apply_policy(apply_policy(rows(), earlier), policy)
        np.testing.assert_equal(found["dice"].to_numpy(), [0.8, 0.0, false_positive, nothing])
        np.testing.assert_equal(found["iou"].to_numpy(), [0.7, 0.0, false_positive, nothing])
        np.testing.assert_equal(found["hd95"].to_numpy(), [2.0, distance, distance, distance])
        np.testing.assert_equal(found["volume_error"].to_numpy(), [0.1, -1.0, NAN, NAN])


def npy(mask):
    content = io.BytesIO()
    np.save(content, mask.astype(np.uint8))
    return content.getvalue()


def test_the_policies_hold_for_what_score_returns():
    there, nothing = np.zeros((2, 8, 8), dtype=bool)
    there[2:5, 2:5] = True
    truths, found = [there, there, nothing, nothing], [there, nothing, there, nothing]
    files = {f"{i}.npy": npy(mask) for i, mask in enumerate(truths)}
    names = list(files)
    table = pd.DataFrame({"case": names, "mask": names, "cluster": names, "split": "test"})
    cohort = Cohort(table, MemorySource(files), {"lesion": 1})

    scores = score(lambda cases: [mask[None] for mask in found], cohort, progress=False)

    for name in ("dice", "iou", "nsd"):
        np.testing.assert_equal(scores[name].to_numpy(), [1, 0, 0, NAN])
        fairseg = apply_policy(scores, "fairseg")[name].to_numpy()
        np.testing.assert_equal(fairseg, [1, 0, 1, 0])
    for name in ("hd95", "assd"):
        np.testing.assert_equal(scores[name].to_numpy(), [0, NAN, NAN, NAN])
        np.testing.assert_equal(apply_policy(scores, "fairseg")[name].to_numpy(), np.zeros(4))
    pd.testing.assert_frame_equal(apply_policy(scores, "skip"), scores)
    assert "-1 where only the prediction is empty" in EVERY_POLICY
    np.testing.assert_equal(scores["volume_error"].to_numpy(), [0, -1, NAN, NAN])


def test_the_policy_called_monai_is_what_monai_does():
    present, empty = torch.zeros(2, 1, 1, 6, 6)
    present[..., :3, :3] = 1
    predicted = torch.cat([present, empty, present, empty])
    truth = torch.cat([present, present, empty, empty])

    monai = DiceMetric(reduction="none")(predicted, truth).flatten().numpy()

    found = apply_policy(rows([1.0, 0.0, 0.0, NAN]), "monai")["dice"].to_numpy()
    np.testing.assert_equal(found, monai)
    other = apply_policy(rows([1.0, 0.0, 0.0, NAN]), "skip")["dice"].to_numpy()
    assert not np.array_equal(other, monai, equal_nan=True)


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no policy 'zero'.*skip, one, monai, fairseg"):
        apply_policy(rows(), "zero")

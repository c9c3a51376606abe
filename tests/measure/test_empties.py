import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics.meandice import DiceMetric

from apple_seg.measure import POLICIES, apply_policy

EMPTY, FULL = 0, 9


def rows(dice=(0.8, 0.0, 0.0, np.nan)):
    """Present, missed, false positive, nothing there and nothing found."""
    return pd.DataFrame(
        {
            "truth_size": [FULL, FULL, EMPTY, EMPTY],
            "predicted_size": [FULL, EMPTY, FULL, EMPTY],
            "dice": dice,
            "hd95": [2.0, np.nan, np.nan, np.nan],
        }
    )


@pytest.mark.parametrize(
    ("policy", "dice"),
    [
        ("skip", [0.8, 0.0, 0.0, np.nan]),
        ("one", [0.8, 0.0, 0.0, 1.0]),
        ("monai", [0.8, 0.0, np.nan, np.nan]),
    ],
)
def test_each_policy_gives_its_scores_whichever_was_applied_before(policy, dice):
    for earlier in POLICIES:
        found = apply_policy(apply_policy(rows(), earlier), policy)
        np.testing.assert_equal(found["dice"].to_numpy(), np.array(dice))
        np.testing.assert_equal(found["hd95"].to_numpy(), rows()["hd95"].to_numpy())


def test_the_policy_called_monai_is_what_monai_does():
    present, empty = torch.zeros(2, 1, 1, 6, 6)
    present[..., :3, :3] = 1
    predicted = torch.cat([present, empty, present, empty])
    truth = torch.cat([present, present, empty, empty])

    monai = DiceMetric(reduction="none")(predicted, truth).flatten().numpy()

    found = apply_policy(rows([1.0, 0.0, 0.0, np.nan]), "monai")["dice"].to_numpy()
    np.testing.assert_equal(found, monai)
    other = apply_policy(rows([1.0, 0.0, 0.0, np.nan]), "skip")["dice"].to_numpy()
    assert not np.array_equal(other, monai, equal_nan=True)


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no policy 'zero'.*skip, one, monai"):
        apply_policy(rows(), "zero")

"""What the settings of a fit change, and what stays as it was."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from apple_seg.errors import ConfigError, FitError
from apple_seg.host import channels_last, wrap
from apple_seg.perturb import FitSettings, MethodSpec
from apple_seg.perturb.stepping import Stepper
from cohorts import toy_cohort
from fits import SETTINGS, fit_toy
from hosts import CASES, ToyHost

ONE = dataclasses.replace(SETTINGS, epochs=1)


def gradients(folder):
    """Return the first moments of Adam after one step: a tenth of the gradients."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["optimizer"]["state"]
    return torch.cat([one["exp_avg"].flatten() for one in state.values()])


def test_accumulated_batches_have_the_gradient_of_one_large_batch(tmp_path):
    method = MethodSpec(name="segmentation-only")
    for name, size, accumulate in (("whole", 48, 1), ("parts", 12, 4), ("part", 12, 1)):
        settings = dataclasses.replace(ONE, batch_size=size, accumulate=accumulate)
        given = {"settings": settings, "method": method, "store": "off"}
        fit_toy(tmp_path / name, **given)
    whole = gradients(tmp_path / "whole")
    assert float((gradients(tmp_path / "parts") - whole).norm()) < 1e-4 * float(whole.norm())
    assert float((gradients(tmp_path / "part") - whole).norm()) > 1e-2 * float(whole.norm())


def test_mixed_precision_fits_and_the_next_fit_may_choose_another(tmp_path):
    full, _ = fit_toy(None, store="off", settings=ONE)
    mixed, weights = fit_toy(
        None, store="off", settings=dataclasses.replace(ONE, mixed_precision="bf16")
    )
    again, _ = fit_toy(None, store="off", settings=ONE)
    assert weights[0]["last.weight"].dtype == torch.float32
    assert mixed.losses != full.losses
    assert mixed.losses[0]["segmentation"] == pytest.approx(
        full.losses[0]["segmentation"], rel=0.05
    )
    assert again.losses == full.losses


def test_tensorboard_gets_losses_and_validation_and_others_are_refused(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = dataclasses.replace(SETTINGS, epochs=2, trackers=("tensorboard",))
    result, _ = fit_toy(tmp_path, store="off", settings=settings)
    events = EventAccumulator(str(tmp_path / "apple-seg"))
    events.Reload()
    seen = [event.value for event in events.Scalars("validation/overall")]
    assert seen == pytest.approx([one.overall for one in result.candidates])
    assert "loss/segmentation" in events.Tags()["scalars"]
    with pytest.raises(ConfigError, match="notebook"):
        fit_toy(None, settings=dataclasses.replace(SETTINGS, trackers=("notebook",)))


def test_balanced_epochs_fit_the_rare_group_as_often(monkeypatch):
    rare = toy_cohort(48, groups=("A", "A", "A", "B"))
    drawn = []

    def counted(stepper, feed, batch, share=1.0):
        drawn.extend(batch.groups[:, 0].tolist())
        return backward(stepper, feed, batch, share=share)

    backward = Stepper.backward
    monkeypatch.setattr(Stepper, "backward", counted)
    fit_toy(None, store="off", settings=ONE, train=rare)
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.05)
    drawn.clear()
    balanced = dataclasses.replace(ONE, balanced=True)
    fit_toy(None, store="off", settings=balanced, train=rare)
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match="there are no groups"):
        fit_toy(None, store="off", settings=balanced, train=rare, groups=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"views": ()}, "views are one or more different ones of as-is"),
        ({"views": ("as-is", "as-is")}, "different"),
        ({"views": ("upside-down",)}, "upside-down"),
        ({"prompts": 0}, "1 prompt at least"),
        ({"accumulate": 0}, "accumulate and patience are 1 at least"),
        ({"patience": 0}, "accumulate and patience are 1 at least"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FitSettings(**changes)


def test_nothing_is_kept_for_the_backward_pass_before_the_first_site():
    """Frozen means cheap: what is saved does not grow with an encoder before the site."""

    def saved(segmentor, images):
        kept = []
        hooks = torch.autograd.graph.saved_tensors_hooks
        with hooks(lambda value: kept.append(value.numel()) or value, lambda value: value):
            segmentor(images)
        return sum(kept)

    class Heavy(ToyHost):
        def __init__(self, depth):
            super().__init__()
            self.before = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(depth)])

        def forward(self, images):
            return super().forward(self.before(images).sigmoid())

    images = torch.rand(2, 3, 16, 16)
    sizes = []
    for depth in (1, 9):
        segmentor = wrap(Heavy(depth), images[:1], sites=[ToyHost.SITE])
        segmentor.install([nn.Conv2d(8, 8, 1)])
        sizes.append(saved(segmentor, images))
    assert sizes[0] == sizes[1] > 0
    segmentor.host.requires_grad_(True)
    assert saved(segmentor, images) > sizes[1]


def test_host_gets_back_the_very_tensors_that_it_had():
    case = next(case for case in CASES if case.name == "monai-unet")
    host = case.build()
    before = [(value.data_ptr(), value.stride()) for value in host.parameters()]
    inside = []

    def stopped():
        with channels_last(host):
            inside.extend(value.stride() for value in host.parameters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert [(value.data_ptr(), value.stride()) for value in host.parameters()] == before
    assert inside != [stride for _, stride in before]


def test_layout_that_the_host_does_not_bear_is_given_up():
    class Views(ToyHost):
        def forward(self, images):
            hidden = self.decoder(nn.functional.interpolate(self.encoder(images)[-1], 16))
            return hidden.view(-1).view(hidden.shape) * self.encoder.conv.weight.view(-1).sum()

    host = Views()
    images = torch.rand(2, 3, 16, 16)
    with channels_last(host), pytest.raises(RuntimeError, match="view"):
        host(images)
    expected = host(images)
    with channels_last(host, lambda: host(images)):
        torch.testing.assert_close(host(images), expected, rtol=0, atol=0)


def test_what_a_callers_own_accelerator_remembers_does_not_stop_a_fit():
    from accelerate.state import GradientState

    state = GradientState()
    state._set_sync_gradients(False)  # as inside `accumulate()`: its optimisers take no step
    try:
        result, weights = fit_toy(None, store="off", settings=ONE)
        assert weights[0]["last.weight"].abs().sum() > 0
        assert result.losses[0]["segmentation"] > 0
        assert GradientState().sync_gradients is False
    finally:
        GradientState._reset_state()


def test_failed_fit_leaves_nothing_of_accelerate_behind():
    from accelerate.state import AcceleratorState

    mixed = dataclasses.replace(ONE, mixed_precision="bf16")
    with pytest.raises(ConfigError, match='fp16" needs a GPU'):
        fit_toy(None, store="off", settings=dataclasses.replace(ONE, mixed_precision="fp16"))
    broken = dataclasses.replace(mixed, learning_rate=1e30)
    with pytest.raises(FitError, match="the loss is not finite"):
        fit_toy(None, store="off", settings=broken)
    assert not AcceleratorState._shared_state
    fit_toy(None, store="off", settings=ONE)

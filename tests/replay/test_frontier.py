"""The frontier is what no perturber can change, and playing it back is a full pass."""

import copy
import dataclasses

import pytest
import torch

from apple_seg.errors import ReplayError
from apple_seg.host import Inputs, Site, wrap
from apple_seg.perturb import ResidualPerturber
from apple_seg.replay import Call, Replay, deviation
from apple_seg.replay.outputs import Leaf, Output
from hosts import CASES, ToyHost
from odd_hosts import Compares, Odd, Promptable, SecondSite


def inputs_of(size=16, n=2, channels=3, **prompts):
    generator = torch.Generator().manual_seed(1)
    return Inputs(torch.rand(n, channels, size, size, generator=generator), prompts, ())


def wrapped(host, inputs, sites, **given):
    one = {name: value[:1] for name, value in inputs.prompts.items()}
    return wrap(host, inputs.images[:1], sites=sites, prompts=one, **given)


def perturbers_of(segmentor):
    torch.manual_seed(0)
    return [ResidualPerturber(one.channels, cells=one.cells) for one in segmentor.shapes]


def calls_of(replay):
    return [str(output.call) for output in replay.outputs]


def deviation_of(replay, inputs, records=None):
    records = replay.capture(inputs) if records is None else records
    return deviation(replay, inputs, records, perturbers_of(replay.segmentor))


@pytest.mark.parametrize("sites", ["bottleneck", "all"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_replay_gives_the_outputs_and_gradients_of_a_full_pass(case, sites):
    inputs = Inputs(case.images, case.prompts, ())
    segmentor = wrapped(case.build(), inputs, sites)
    replay = Replay.of(segmentor, inputs)
    records = replay.capture(inputs)
    found = deviation_of(replay, inputs, records)
    assert found.outputs < 1e-5
    assert found.gradients < 1e-4
    assert found.within("host")
    exchanged = {name: value.flip(0) for name, value in records.items()}
    assert not deviation_of(replay, inputs, exchanged).within("half")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tracing_and_playing_leave_the_host_as_it_was(case):
    inputs = Inputs(case.images, case.prompts, ())
    host = case.build()
    segmentor = wrapped(host, inputs, "all")
    own = {name: set(vars(module)) for name, module in host.named_modules()}
    hooks = {
        name: (len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in host.named_modules()
    }
    before = segmentor.predict(inputs.images, **inputs.prompts)
    replay = Replay.of(segmentor, inputs)
    replay.predict(inputs, replay.capture(inputs))
    with pytest.raises(KeyError):
        replay.predict(inputs, {})
    assert {name: set(vars(module)) for name, module in host.named_modules()} == own
    assert {
        name: (len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in host.named_modules()
    } == hooks
    after = segmentor.predict(inputs.images, **inputs.prompts)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def unet():
    return next(case for case in CASES if case.name == "monai-unet")


def test_sites_in_sequence_leave_only_what_comes_before_the_first():
    """Where the deeper encoder reads the perturbed latent, its calls are not replayable."""
    case = unet()
    inputs = Inputs(case.images, {}, ())
    clean = wrapped(case.build(), inputs, "all")
    through = [site.through() for site in clean.sites]
    assert len(calls_of(Replay.of(clean, inputs))) == 4
    clean.detach()
    segmentor = wrapped(case.build(), inputs, through)
    replay = Replay.of(segmentor, inputs)
    assert calls_of(replay) == ["model.0"]
    assert deviation_of(replay, inputs).within("host")


def test_check_finds_out_the_rule_that_records_all_that_ends_before_the_last_site():
    """With the identity the naive rule is right; the check randomises, and is not fooled."""
    case = unet()
    inputs = Inputs(case.images, {}, ())
    host = case.build()
    clean = wrapped(host, inputs, "all")
    naive = Replay.of(clean, inputs)
    through = [site.through() for site in clean.sites]
    clean.detach()
    segmentor = wrapped(host, inputs, through)
    naive = dataclasses.replace(naive, segmentor=segmentor)
    records = naive.capture(inputs)
    played = naive.predict(inputs, records)
    torch.testing.assert_close(played, segmentor.predict(inputs.images), rtol=0, atol=1e-6)
    found = deviation_of(naive, inputs, records)
    assert found.gradients > 0.1
    assert not found.within("half")


def test_what_nobody_reads_is_not_stored_and_images_neither():
    case = next(case for case in CASES if case.name == "smp-unet-tu")
    inputs = Inputs(case.images, {}, ())
    replay = Replay.of(wrapped(case.build(), inputs, "all"), inputs)
    (output,) = replay.outputs
    assert [leaf.kind for leaf in output.leaves] == ["unread"] + ["stored"] * 5
    assert not replay.reads_images
    assert replay.blank(2).isnan().all()


DEEP = Site("encoder.first")


def test_containers_integers_constants_and_in_place_decoders_are_played_back():
    inputs = inputs_of()
    segmentor = wrapped(SecondSite(), inputs, [DEEP, Site("middle")])
    replay = Replay.of(segmentor, inputs)
    assert calls_of(replay) == ["encoder.first", "position"]
    assert deviation_of(replay, inputs).within("host")
    segmentor.detach()
    segmentor = wrapped(Odd(), inputs, [Site("position")])
    replay = Replay.of(segmentor, inputs)
    assert calls_of(replay) == ["encoder", "position"]
    kinds = {leaf.name: leaf.kind for output in replay.outputs for leaf in output.leaves}
    assert kinds == {
        "encoder#0/0": "stored",  # the latent
        "encoder#0/1": "stored",  # its places, integers
        "encoder#0/2": "constant",  # None
        "encoder#0/3": "constant",  # a name
        "encoder#0/4": "unread",
        "position#0/0": "constant",
    }
    assert deviation_of(replay, inputs).within("host")
    again = replay.capture(inputs)
    first = replay.predict(inputs, copy.deepcopy(again))
    torch.testing.assert_close(first, segmentor.predict(inputs.images), rtol=0, atol=0)


def test_image_that_is_read_after_the_sites_is_recorded_too():
    inputs = inputs_of()
    segmentor = wrapped(Odd(skip=True), inputs, [DEEP])
    replay = Replay.of(segmentor, inputs)
    assert replay.reads_images
    assert "images" in replay.capture(inputs)
    assert deviation_of(replay, inputs).within("host")


def test_encoder_that_is_run_case_by_case_is_not_taken_for_a_constant():
    inputs = inputs_of()
    segmentor = wrapped(Odd(loops=True), inputs, [Site("position")])
    replay = Replay.of(segmentor, inputs)
    assert calls_of(replay) == ["position"]
    assert replay.reads_images
    assert deviation_of(replay, inputs).within("host")


def test_output_of_a_site_makes_all_before_it_unread():
    inputs = inputs_of()
    replay = Replay.of(wrapped(SecondSite(), inputs, [Site("middle")]), inputs)
    kinds = {leaf.name: leaf.kind for output in replay.outputs for leaf in output.leaves}
    assert calls_of(replay) == ["encoder", "position", "middle"]
    assert kinds["middle#0/0"] == "stored"
    assert kinds["encoder#0/0"] == "unread"
    assert deviation_of(replay, inputs).within("host")


def test_image_itself_as_a_site_leaves_nothing_to_replay():
    inputs = inputs_of()
    segmentor = wrapped(ToyHost(), inputs, [Site("", io="input")])
    with pytest.raises(ReplayError, match=r"\(host\).input"):
        Replay.of(segmentor, inputs)


def test_host_that_goes_another_way_than_traced_is_found_out():
    inputs = inputs_of()
    segmentor = wrapped(ToyHost(), inputs, [ToyHost.SITE])
    replay = Replay.of(segmentor, inputs)
    records = replay.capture(inputs)
    output = replay.outputs[0]
    second = dataclasses.replace(output, call=Call(output.call.module, 1))
    lost = dataclasses.replace(replay, outputs=(*replay.outputs, second))
    with pytest.raises(ReplayError, match=r"did not run encoder \(call 2\)"):
        lost.predict(inputs, records)
    with pytest.raises(ReplayError, match=r"did not run encoder \(call 2\)"):
        lost.capture(inputs)


def test_reading_what_was_taken_for_unread_gives_nan_and_no_wrong_number():
    inputs = inputs_of()
    segmentor = wrapped(ToyHost(), inputs, [ToyHost.SITE])
    replay = Replay.of(segmentor, inputs)
    (output,) = replay.outputs
    wrong = [dataclasses.replace(leaf, kind="unread") for leaf in output.leaves]
    lost = dataclasses.replace(
        replay, outputs=(Output(output.call, tuple(wrong), output.container),)
    )
    assert lost.predict(inputs, {}).isnan().all()
    assert not deviation_of(lost, inputs, {}).within("half")


def test_leaf_of_several_rows_a_case_is_put_together_by_case():
    """Windows of a transformer: rows of all cases stand one behind the other."""
    leaf = Leaf("windows#0/0", (2, 5), torch.float32)
    records = {leaf.name: torch.arange(30.0).reshape(3, 2, 5)}
    whole = leaf.whole(3, records, torch.device("cpu"), 0.0)
    torch.testing.assert_close(whole, torch.arange(30.0).reshape(6, 5), rtol=0, atol=0)


def test_what_depends_on_prompts_is_not_recorded():
    inputs = inputs_of(boxes=torch.tensor([[0.0, 1, 5, 6], [2, 2, 9, 9]]))
    segmentor = wrapped(Promptable(), inputs, [ToyHost.SITE])
    replay = Replay.of(segmentor, inputs)
    assert calls_of(replay) == ["encoder"]
    other = inputs._replace(prompts={"boxes": inputs.prompts["boxes"] + 3})
    played = replay.predict(other, replay.capture(inputs))
    expected = segmentor.predict(other.images, **other.prompts)
    torch.testing.assert_close(played, expected, rtol=0, atol=0)


def test_image_that_is_only_compared_counts_as_read():
    inputs = inputs_of()
    segmentor = wrapped(Compares(), inputs, [ToyHost.SITE])
    assert Replay.of(segmentor, inputs).reads_images

"""The contract that every adapter meets, on every host of the table."""

import copy
from importlib.metadata import entry_points

import pytest
import torch
from torch import nn

from apple_seg.errors import AdapterNotFoundError, SiteError
from apple_seg.host import Site, find_adapter, fingerprint, wrap
from apple_seg.perturb import LeanPerturber, ResidualPerturber
from hosts import CASES, ToyHost


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def host(case):
    return case.build()


def first(prompts):
    return {name: value[:1] for name, value in prompts.items()}


def wrapped(case, host):
    return wrap(host, case.images[:1], sites="all", prompts=first(case.prompts))


def randomise(segmentor):
    """Put perturbers in that are far from the identity."""
    perturbers = [ResidualPerturber(one.channels, cells=one.cells) for one in segmentor.shapes]
    for perturber in perturbers:
        nn.init.normal_(perturber.last.weight, std=0.1)
    segmentor.install(perturbers)
    return segmentor


def traces(host):
    """Everything that a wrap may change: weights, flags, modes and hook tables."""
    return {
        "weights": {name: value.clone() for name, value in host.state_dict().items()},
        "names": list(host.state_dict()),
        "flags": [value.requires_grad for value in host.parameters()],
        "modes": [module.training for module in host.modules()],
        "hooks": [
            {k: dict(v) for k, v in vars(module).items() if "hook" in k and isinstance(v, dict)}
            for module in host.modules()
        ],
    }


def assert_same(after, before):
    torch.testing.assert_close(after.pop("weights"), before.pop("weights"), rtol=0, atol=0)
    assert after == before


def run(case, host):
    with torch.no_grad():
        return find_adapter(host).segment(host, case.images, **case.prompts)


def test_adapter_finds_every_site_and_all_are_distinct(case, host):
    segmentor = wrapped(case, host)
    assert len(set(segmentor.sites)) == case.sites
    sizes = [shape.cells[0] for shape in segmentor.shapes]
    assert sizes == sorted(sizes), "the bottleneck comes first, the shallowest skip last"


def test_new_wrap_changes_no_bit_of_the_output(case, host):
    deployed = run(case, host.eval())
    segmentor = wrapped(case, host)
    logits, latents = segmentor(case.images, **case.prompts)
    torch.testing.assert_close(logits, deployed, rtol=0, atol=0)
    assert [latent.shape[1] for latent in latents] == [one.channels for one in segmentor.shapes]
    assert logits.shape == (2, 1, *case.images.shape[2:])


def test_perturbed_latent_reaches_the_decoder_and_strength_scales_it(case, host):
    segmentor = randomise(wrapped(case, host))
    full = segmentor.predict(case.images, **case.prompts)
    with segmentor.disabled():
        deployed = segmentor.predict(case.images, **case.prompts)
    assert not torch.allclose(full, deployed)
    segmentor.strength = 0.0
    torch.testing.assert_close(
        segmentor.predict(case.images, **case.prompts), deployed, rtol=0, atol=0
    )
    segmentor.strength = 0.01
    little = segmentor.predict(case.images, **case.prompts)
    assert 0 < (little - deployed).abs().mean() < (full - deployed).abs().mean()


def test_only_the_perturbers_learn(case, host):
    segmentor = randomise(wrapped(case, host))
    before = fingerprint(host)
    segmentor.train()
    segmentor(case.images, **case.prompts).logits.square().mean().backward()
    assert all(value.grad is None for value in host.parameters())
    for perturber in segmentor.perturbers:
        assert perturber.last.weight.grad.any()
    assert fingerprint(host) == before
    assert not any(module.training for module in host.modules())


@pytest.mark.parametrize("training", [True, False], ids=["found-in-train", "found-in-eval"])
def test_detach_leaves_the_host_as_it_was_found(case, host, training):
    host.train(training)
    next(host.parameters()).requires_grad_(False)
    deployed = run(case, copy.deepcopy(host).eval())
    before = traces(host)
    segmentor = randomise(wrapped(case, host))
    assert not torch.allclose(run(case, host), deployed)
    assert segmentor.detach() is host
    assert_same(traces(host), before)
    torch.testing.assert_close(run(case, host.eval()), deployed, rtol=0, atol=0)


@pytest.mark.parametrize(
    "site",
    [Site("nowhere"), Site("", item=3), Site("", clean=("nowhere",))],
    ids=["no-module", "no-item", "no-clean-reader"],
)
def test_failing_wrap_leaves_the_host_as_it_was_found(case, host, site):
    before = traces(host)
    with pytest.raises(SiteError):
        wrap(host, case.images[:1], sites=[site], prompts=first(case.prompts))
    assert_same(traces(host), before)


@pytest.mark.parametrize("case", [case for case in CASES if case.sites > 1], ids=str)
def test_skips_leave_the_deeper_encoder_clean(case):
    """Perturbing all skips changes no bit of the bottleneck's latent; with `through` it may."""
    host = case.build()
    segmentor = wrapped(case, host)
    clean = segmentor(case.images, **case.prompts).latents[0]
    randomise(segmentor)
    perturbers = [nn.Identity(), *segmentor.perturbers[1:]]
    segmentor.install(perturbers)
    perturbed = segmentor(case.images, **case.prompts).latents[0]
    torch.testing.assert_close(perturbed, clean, rtol=0, atol=0)
    through = [site.through() for site in segmentor.sites]
    if through == list(segmentor.sites):
        return
    segmentor.detach()
    segmentor = wrap(host, case.images[:1], sites=through)
    segmentor.install(perturbers)
    assert not torch.allclose(segmentor(case.images).latents[0], clean)


def test_every_installed_adapter_has_a_host_in_the_table():
    served = {type(case.build()).__module__.partition(".")[0] for case in CASES}
    assert served == set(entry_points(group="apple_seg.adapters").names)


def test_unknown_host_names_the_adapters_there_are():
    with pytest.raises(AdapterNotFoundError, match=r"no adapter for hosts\.ToyHost.*monai"):
        wrap(ToyHost(), torch.rand(1, 3, 16, 16))


def test_every_stage_can_be_perturbed_and_a_gradient_reaches_each(case, host):
    deployed = run(case, host.eval())
    segmentor = wrap(host, case.images[:1], sites="stages", prompts=first(case.prompts))
    assert len(segmentor.sites) >= case.sites
    assert not any(site.clean for site in segmentor.sites), "whoever comes next reads it perturbed"
    segmentor.install([LeanPerturber(one.channels, cells=one.cells) for one in segmentor.shapes])
    logits, _ = segmentor(case.images, **case.prompts)
    torch.testing.assert_close(logits, deployed, rtol=0, atol=0)
    logits.square().sum().backward()
    for site, perturber in zip(segmentor.sites, segmentor.perturbers, strict=True):
        assert perturber.last.weight.grad.any(), site

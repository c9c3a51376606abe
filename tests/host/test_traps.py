"""The ways in which hooks fail silently while a host runs, each an error or put right."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from apple_seg.errors import HostError
from apple_seg.host import PerturbedSegmentor, Site, wrap
from apple_seg.perturb import ResidualPerturber
from hosts import CASES, ToyHost
from wraps import images, loud, wrapped


class InPlace(ToyHost):
    """Its decoder begins with an in-place operation on the latent."""

    def forward(self, images):
        return self.decoder(torch.relu_(self.encoder(images)[-1]))


class Keyword(ToyHost):
    """Its decoder takes the latent by keyword."""

    def __init__(self):
        super().__init__()
        self.decoder = _KeywordDecoder()

    def forward(self, images):
        return self.decoder(latent=self.encoder(images)[-1])


class _KeywordDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 1, 1)

    def forward(self, *, latent):
        return self.conv(latent)


def test_keyword_input_is_perturbed():
    segmentor = loud(wrapped(Keyword(), Site("decoder", io="input", item="latent")))
    full = segmentor.predict(images())
    with segmentor.disabled():
        assert not torch.allclose(segmentor.predict(images()), full)


def test_image_itself_can_be_a_site():
    segmentor = loud(wrapped(site=Site("", io="input")))
    assert segmentor.shapes[0].cells == (16, 16)
    with torch.no_grad():
        perturbed = segmentor.host(images())
    with segmentor.disabled():
        assert not torch.allclose(segmentor.predict(images()), perturbed)


def test_latent_kept_for_the_loss_survives_an_in_place_decoder():
    segmentor = loud(wrapped(InPlace()))
    latent = segmentor(images()).latents[0]
    assert (latent < 0).any(), "a ReLU in place would have wiped the negative values"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_perturber_returns_the_dtype_that_came(dtype):
    host = ToyHost().to(dtype)
    segmentor = wrap(host, images()[:1].to(dtype), sites=[ToyHost.SITE])
    deployed = segmentor.predict(images().to(dtype))
    fresh = [ResidualPerturber(one.channels, cells=one.cells) for one in segmentor.shapes]
    segmentor.install(fresh)
    unchanged = segmentor.predict(images().to(dtype))
    torch.testing.assert_close(unchanged, deployed, rtol=0, atol=0)
    loud(segmentor)
    assert segmentor.predict(images().to(dtype)).dtype == dtype


def test_perturber_runs_in_float32_under_autocast():
    segmentor = loud(wrapped())
    seen = []
    segmentor.perturbers[0].last.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        segmentor.predict(images())
    assert seen == [torch.float32]


def test_host_found_in_train_mode_keeps_its_batch_statistics():
    host = ToyHost()
    host.decoder = nn.Sequential(nn.BatchNorm2d(8), host.decoder)
    before = copy.deepcopy(host.state_dict())
    segmentor = loud(wrapped(host.train()))
    segmentor.train()
    segmentor(images()).logits.sum().backward()
    torch.testing.assert_close(host.state_dict(), before, rtol=0, atol=0)
    segmentor.detach()
    assert host.training


def test_second_wrap_is_refused_and_the_first_still_works():
    host = ToyHost()
    segmentor = loud(wrapped(host))
    full = segmentor.predict(images())
    with pytest.raises(HostError, match="wrapped already"):
        wrapped(host)
    torch.testing.assert_close(segmentor.predict(images()), full, rtol=0, atol=0)
    segmentor.detach()
    wrapped(host)


def test_host_compiled_and_run_before_the_wrap_is_perturbed_all_the_same():
    host = ToyHost().eval()
    compiled = torch.compile(host, backend="eager")
    with torch.no_grad():
        deployed = compiled(images())
    segmentor = loud(wrapped(compiled))
    assert segmentor.host is host
    with torch.no_grad():
        perturbed = compiled(images())
        assert not torch.allclose(perturbed, deployed)
        torch.testing.assert_close(perturbed, segmentor.predict(images()))
        segmentor.detach()
        torch.testing.assert_close(compiled(images()), deployed)


def test_deep_copy_of_a_hooked_host_has_a_perturber_of_its_own():
    segmentor = loud(wrapped())
    twin = copy.deepcopy(segmentor.host)
    with torch.no_grad():
        full = segmentor.predict(images())
        torch.testing.assert_close(twin(images()), full, rtol=0, atol=0)
        segmentor.detach()
        assert not torch.allclose(segmentor.host(images()), full)
        torch.testing.assert_close(twin(images()), full, rtol=0, atol=0)


def test_gradient_checkpointing_that_runs_the_hook_twice_records_once():
    class Checkpointed(ToyHost):
        def forward(self, images):
            return checkpoint(super().forward, images, use_reentrant=False)

    segmentor = loud(wrapped(Checkpointed()))
    logits, latents = segmentor(images())
    logits.sum().backward()
    assert latents[0].shape[0] == 2
    assert segmentor.perturbers[0].last.weight.grad.any()


def test_strength_outside_its_range_is_refused():
    segmentor = wrapped()
    with pytest.raises(ValueError, match=r"in \[0, 1\], got 1.5"):
        segmentor.strength = 1.5


def test_install_needs_a_perturber_a_site():
    with pytest.raises(ValueError, match="1 sites need as many perturbers, got 2"):
        wrapped().install([nn.Identity(), nn.Identity()])


def test_disabled_is_over_after_an_error_inside():
    segmentor = loud(wrapped())
    full = segmentor.predict(images())
    with pytest.raises(RuntimeError, match="inside"), segmentor.disabled():
        raise RuntimeError("inside")
    torch.testing.assert_close(segmentor.predict(images()), full, rtol=0, atol=0)


def test_no_latent_outlives_a_forward_that_fails():
    class Fails(ToyHost):
        broken = False

        def forward(self, images):
            logits = super().forward(images)
            if self.broken:
                raise RuntimeError("decoder failed")
            return logits

    segmentor: PerturbedSegmentor = loud(wrapped(Fails()))
    segmentor.host.broken = True
    with pytest.raises(RuntimeError, match="decoder failed"):
        segmentor(images())
    assert all(tap.latents == [] for tap in segmentor._taps)


def test_threads_that_share_a_host_do_not_mix_their_latents():
    """Two images are held at the same skip site until both have passed it."""
    case = CASES[0]
    host = case.build()
    segmentor = loud(wrap(host, case.images[:1], sites="all"))
    expected = [segmentor.predict(image[None]) for image in case.images]
    barrier = threading.Barrier(2, timeout=20)
    found = {}

    def hold(_module, _inputs):
        barrier.wait()

    def work(place):
        found[place] = segmentor.predict(case.images[place][None])

    handle = host.get_submodule("model.1").register_forward_pre_hook(hold)
    threads = [threading.Thread(target=work, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle.remove()
    for place in (0, 1):
        torch.testing.assert_close(found[place], expected[place], rtol=0, atol=0)


def test_detached_segmentor_does_not_pass_the_bare_host_off_as_perturbed():
    segmentor = loud(wrapped())
    host = segmentor.detach()
    with pytest.raises(HostError, match="have been detached"):
        segmentor.predict(images())
    again = loud(wrapped(host))
    assert segmentor.detach() is host
    assert not any(value.requires_grad for value in host.parameters())
    again.predict(images())

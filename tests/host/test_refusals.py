"""What cannot be wrapped is refused by name, and left without a hook."""

import pytest
import torch
from torch import nn

from apple_seg.errors import HostError, SiteError
from apple_seg.host import Site, wrap
from hosts import ToyHost
from wraps import images, wrapped


class Iterated(ToyHost):
    """Its stages are a container that is iterated, never called."""

    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1))

    def forward(self, images):
        for stage in self.stages:
            images = stage(images)
        return self.decoder(images)


class Unread(ToyHost):
    """Its encoder returns a tensor that the decoder does not read."""

    def forward(self, images):
        features = self.encoder(images)
        return self.decoder(features[-1]) + 0 * features[0].mean()


def hooks(host):
    return [h for m in host.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


def test_site_that_never_fires_names_the_nearest_modules_that_do():
    host = Iterated()
    with pytest.raises(SiteError, match=r"stages was not run.*stages\.0, stages\.1"):
        wrapped(host, Site("stages"))
    assert hooks(host) == []


def test_tensor_that_nobody_reads_is_refused():
    host = Unread()
    with pytest.raises(SiteError, match="does not change the output: nothing reads"):
        wrapped(host, Site("encoder", item=0))
    assert hooks(host) == []
    wrapped(host, Site("encoder", item=1))


def test_clean_reader_that_never_gets_the_latent_is_refused():
    with pytest.raises(SiteError, match=r"decoder did not receive this very tensor"):
        wrapped(site=Site("encoder", item=-1, clean=("decoder",)))


def test_scripted_hosts_and_parts_are_refused():
    with pytest.warns((DeprecationWarning, FutureWarning)):
        scripted = torch.jit.trace(ToyHost().eval().decoder, torch.rand(1, 8, 4, 4))
    with pytest.raises(HostError, match="TorchScript"):
        wrapped(scripted)
    host = ToyHost()
    host.decoder = scripted
    with pytest.raises(HostError, match="decoder is TorchScript"):
        wrapped(host, Site("decoder", io="input"))
    assert hooks(host) == []


def test_data_parallel_is_refused_and_the_way_out_is_named():
    with pytest.raises(HostError, match=r"wrap host\.module"):
        wrapped(nn.DataParallel(ToyHost()))


def test_host_that_fails_on_the_example_is_named_with_the_shape():
    with pytest.raises(HostError, match=r"ToyHost fails on an image of shape \(1, 5, 16, 16\)"):
        wrap(ToyHost(), torch.rand(1, 5, 16, 16), sites=[ToyHost.SITE])


def test_host_whose_output_is_no_number_is_refused():
    host = ToyHost()
    with torch.no_grad():
        host.decoder.bias.fill_(torch.nan)
    with pytest.raises(HostError, match="not finite"):
        wrapped(host)
    assert hooks(host) == []


def test_site_named_twice_or_by_a_mere_string_is_refused():
    with pytest.raises(SiteError, match="named twice"):
        wrap(ToyHost(), images()[:1], sites=[ToyHost.SITE, ToyHost.SITE])
    with pytest.raises(SiteError, match=r"a site is Site\(module"):
        wrap(ToyHost(), images()[:1], sites=["encoder"])

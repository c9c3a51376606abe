"""A toy host, wrapped for a test, with perturbers far from the identity."""

import torch
from torch import nn

from apple_seg.host import wrap
from apple_seg.perturb import ResidualPerturber
from hosts import ToyHost


def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def wrapped(host=None, site=ToyHost.SITE):
    return wrap(ToyHost() if host is None else host, images()[:1], sites=[site])


def loud(segmentor):
    """Install perturbers that are far from the identity."""
    perturbers = [ResidualPerturber(one.channels, cells=one.cells) for one in segmentor.shapes]
    for perturber in perturbers:
        nn.init.normal_(perturber.last.weight)
    segmentor.install(perturbers)
    return segmentor

"""A small fit of a host whose encoder is worth replaying."""

import dataclasses

import torch
from torch import nn

from apple_seg.host import Pipeline, Site, wrap
from apple_seg.perturb import fit
from apple_seg.replay import ReplaySettings
from cohorts import GROUPS, SPEC, toy_cohort
from fits import SETTINGS

SHORT = dataclasses.replace(SETTINGS, epochs=2)


class DeepEncoder(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 8, 3, stride=2, padding=1),
        )


class DeepHost(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = DeepEncoder(), nn.Conv2d(8, 1, 1)

    def forward(self, images):
        latent = self.encoder(images)
        return self.decoder(nn.functional.interpolate(latent, images.shape[-2:]))


class OtherCode(DeepHost):
    """The same weights, other code."""

    def forward(self, images):
        latent = self.encoder(images.flip(-1))
        return self.decoder(nn.functional.interpolate(latent, images.shape[-2:]))


def deep_pipeline(make=DeepHost, spec=SPEC):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        host = make()
    segmentor = wrap(host, torch.rand(1, 3, 16, 16), sites=[Site("encoder")])
    return Pipeline(segmentor, spec, ["lesion"])


def run(pipeline, store, folder, **changes):
    given = {
        "train": toy_cohort(24),
        "validation": toy_cohort(8, split="val", seed=1),
        "groups": GROUPS,
        "settings": SHORT,
        "replay": ReplaySettings(store=store),
        "folder": folder,
        "progress": True,
    }
    return fit(pipeline, **{**given, **changes})

"""A host whose views part: it draws what is bright, but for two spots that do not turn with it."""

import torch
from torch import nn

from apple_seg.host import Pipeline, Site, wrap
from apple_seg.views import VIEWS
from cohorts import SPEC

VIEWS_OF_PLANE = tuple(view for view in VIEWS if view != "flip-d")


class Blotched(nn.Module):
    """Logits of (N, 3, 16, 16) images, above 0 where the first channel is above a half."""

    SITE = Site("bright")

    def __init__(self):
        super().__init__()
        self.bright = nn.Conv2d(3, 1, 1)
        nn.init.zeros_(self.bright.weight)
        self.bright.weight.data[0, 0] = 10.0
        nn.init.constant_(self.bright.bias, -5.0)

    def forward(self, images):
        spots = torch.zeros(images.shape[2:])
        spots[:3, :4] = 9.0
        spots[5:7, 5:9] = -9.0
        return self.bright(images) + spots


def blotched(spec=SPEC):
    segmentor = wrap(Blotched(), torch.rand(1, 3, 16, 16), sites=[Blotched.SITE])
    return Pipeline(segmentor, spec, ["lesion"])

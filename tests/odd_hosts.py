"""Hosts that are odd in one way each: what they return, in which order, how often."""

from collections import namedtuple

import torch
from torch import nn

from hosts import ToyHost

Pair = namedtuple("Pair", ["deep", "rest"])


class Odd(nn.Module):
    """An encoder with a container of many kinds, and a decoder that starts in place."""

    def __init__(self, loops=False, skip=False):
        super().__init__()
        self.encoder = OddEncoder()
        self.position = Position()
        self.decoder = nn.Conv2d(8, 1, 1)
        self.loops, self.skip = loops, skip

    def forward(self, images):
        if self.loops:
            parts = [self.encoder(image[None]) for image in images]
            deep = torch.cat([part["pair"].deep for part in parts])
            places = torch.cat([part["pair"].rest[0] for part in parts])
        else:
            found = self.encoder(images)
            deep, (places, _) = found["pair"].deep, found["pair"].rest
        deep = deep.relu_() + self.position(4)
        whole = nn.functional.max_unpool2d(deep, places, 2)
        logits = nn.functional.interpolate(self.decoder(whole), images.shape[-2:])
        return logits + images.mean(1, keepdim=True) if self.skip else logits


class OddEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)

    def forward(self, images):
        hidden = self.first(images)
        deep, places = nn.functional.max_pool2d(hidden, 2, return_indices=True)
        return {"pair": Pair(deep, [places, None]), "name": "odd", "unread": hidden.mean((2, 3))}


class Position(nn.Module):
    def __init__(self):
        super().__init__()
        self.values = nn.Parameter(torch.rand(1, 8, 8, 8))

    def forward(self, size):
        return self.values[..., :size, :size]


class SecondSite(Odd):
    """Its position is read between the encoder and a second site."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Identity()

    def forward(self, images):
        found = self.encoder(images)
        deep, (places, _) = found["pair"]
        deep = deep.relu() + self.position(4)
        whole = self.middle(nn.functional.max_unpool2d(deep, places, 2))
        return nn.functional.interpolate(self.decoder(whole), images.shape[-2:])


class Promptable(ToyHost):
    """Its prompts are encoded before its image."""

    def __init__(self):
        super().__init__()
        self.prompt_encoder = nn.Linear(4, 8)

    def forward(self, images, boxes):
        said = self.prompt_encoder(boxes)
        latent = self.encoder(images)[-1] + said[..., None, None]
        return self.decoder(nn.functional.interpolate(latent, images.shape[-2:]))


class Compares(ToyHost):
    """It reads its image after the site only to ask where there is padding."""

    def forward(self, images):
        return super().forward(images) * (images.sum(1, keepdim=True) != 0)

"""The table of hosts that every contract runs over: tiny, real, with random weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from apple_seg.host import Site

SIZE = 64


@dataclass(frozen=True)
class HostCase:
    """A family member, how to make it, and what its adapter must find."""

    name: str
    build: Callable[[], nn.Module]
    sites: int
    prompts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def images(self) -> Tensor:
        return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    def __str__(self) -> str:
        return self.name


def _monai(name: str, **arguments: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from monai.networks import nets

        return getattr(nets, name)(spatial_dims=2, in_channels=3, out_channels=1, **arguments)

    return build


def _smp(encoder: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import segmentation_models_pytorch as smp

        return smp.Unet(encoder, encoder_weights=None)

    return build


def _sam(encoder: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from benchmarks.hosts.networks import sam

        return sam(encoder=encoder, image_size=SIZE, channels=16)

    return build


BOXES = torch.tensor([[4.0, 4, 40, 40], [8, 8, 60, 60]])
POINTS = {"points": torch.tensor([[[20.0, 20]], [[30, 9]]]), "labels": torch.ones(2, 1)}
_LEVELS = {"channels": (4, 8, 16, 32), "strides": (2, 2, 2)}

CASES = [
    HostCase("monai-unet", _monai("UNet", **_LEVELS, num_res_units=1, norm="batch"), 4),
    HostCase("monai-attention-unet", _monai("AttentionUnet", **_LEVELS), 4),
    HostCase("smp-unet-tu", _smp("tu-resnet18"), 5),
    HostCase("sam-vit-box", _sam("vit"), 1, {"boxes": BOXES}),
    HostCase("sam-vit-point", _sam("vit"), 1, POINTS),
    HostCase("sam-vit-no-prompt", _sam("vit"), 1),
    HostCase("sam-tiny-vit", _sam("tiny-vit"), 1, {"boxes": BOXES}),
]


class ToyHost(nn.Module):
    """The smallest host there is, of a family that no adapter knows."""

    SITE = Site("encoder", item=-1)

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _ToyEncoder()
        self.decoder = nn.Conv2d(8, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        latent = self.encoder(images)[-1]
        return self.decoder(nn.functional.interpolate(latent, images.shape[-2:]))


class _ToyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, self.conv(images).relu()]

"""Factories of the SAM-like hosts, from the real classes, at a size that two cores can train."""

from functools import partial
from typing import Any

import timm
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn


class TinyViTEncoder(nn.Module):
    """timm's TinyViT up to stride 16, brought to SAM's channels: the image encoder of MobileSAM."""

    def __init__(self, img_size: int, out_chans: int) -> None:
        super().__init__()
        self.img_size = img_size
        self.features = timm.create_model(
            "tiny_vit_5m_224", features_only=True, out_indices=(2,), pretrained=False
        )
        info: Any = self.features.feature_info
        channels = info.channels()[-1]
        self.neck = nn.Sequential(
            nn.Conv2d(channels, out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, S, S) to embeddings (N, out_chans, S/16, S/16)."""
        embeddings: Tensor = self.neck(self.features(images)[-1])
        return embeddings


def sam(*, encoder: str, image_size: int, channels: int = 64) -> Sam:
    """Return a small `Sam` with a "vit", "small-vit" or "tiny-vit" image encoder."""
    cells = image_size // 16
    return Sam(
        _ENCODERS[encoder](image_size, channels),
        PromptEncoder(channels, (cells, cells), (image_size, image_size), mask_in_chans=16),
        MaskDecoder(
            transformer_dim=channels,
            transformer=TwoWayTransformer(2, channels, num_heads=4, mlp_dim=4 * channels),
            iou_head_hidden_dim=64,
        ),
    )


def _vit(image_size: int, channels: int, *, width: int = 192, heads: int = 3) -> ImageEncoderViT:
    return ImageEncoderViT(
        img_size=image_size,
        embed_dim=width,
        depth=6,
        num_heads=heads,
        out_chans=channels,
        use_rel_pos=True,
        window_size=8,
        global_attn_indexes=(2, 5),
        norm_layer=lambda channels: nn.LayerNorm(channels, eps=1e-6),
    )


_ENCODERS: dict[str, Any] = {
    "vit": _vit,
    "small-vit": partial(_vit, width=144, heads=4),
    "tiny-vit": TinyViTEncoder,
}


def parameters(host: nn.Module) -> int:
    """Count the parameters of a host."""
    return sum(value.numel() for value in host.parameters())


if __name__ == "__main__":
    for name in _ENCODERS:
        network = sam(encoder=name, image_size=256)
        with torch.no_grad():
            cells = network.image_encoder(torch.zeros(1, 3, 256, 256)).shape
        print(name, parameters(network), tuple(cells))

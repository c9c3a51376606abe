"""segment_anything's `Sam`, with any image encoder: ViT, or TinyViT as in MobileSAM."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from apple_seg.host import Site


def sites(host: Any) -> list[Site]:
    """Return the image embedding; SAM's decoder has no skips."""
    return [Site("image_encoder")]


def stages(host: Any) -> list[Site]:
    """Add what a ViT hands on within its encoder: tokens (N, h, w, C).

    Of its patches, of each block, and of the two layer norms in each, which attention and MLP read.
    """
    encoder = host.image_encoder
    parts = ["", ".norm1", ".norm2"]
    blocks = range(len(getattr(encoder, "blocks", ())))
    paths = [f"blocks.{place}{part}" for place in blocks for part in parts]
    inner = ["patch_embed", *paths] if paths else []
    return [*sites(host), *(Site(f"image_encoder.{path}", axis=-1) for path in inner)]


def segment(
    host: Any,
    images: Tensor,
    *,
    boxes: Tensor | None = None,
    points: Tensor | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Segment one object an image, by its box, its points, or without a prompt.

    `Sam.forward` and `SamPredictor` run without gradients, so this calls the three parts itself.

    Args:
        host: The `Sam`. Its decoder takes one image at a time, with that image's prompts.
        images: (N, 3, S, S), normalised and padded to the encoder's square.
        boxes: (N, 4) as x0 y0 x1 y1, in pixels of `images`.
        points: (N, P, 2) as x y, in pixels of `images`.
        labels: (N, P), 1 for foreground and 0 for background.

    Returns:
        Logits (N, 1, S, S).
    """
    embeddings = host.image_encoder(images)
    logits = []
    for place, embedding in enumerate(embeddings):
        one = slice(place, place + 1)
        sparse, dense = host.prompt_encoder(
            points=None if points is None or labels is None else (points[one], labels[one]),
            boxes=None if boxes is None else boxes[one],
            masks=None,
        )
        low_resolution, _ = host.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=host.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        logits.append(low_resolution)
    return functional.interpolate(
        torch.cat(logits), images.shape[-2:], mode="bilinear", align_corners=False
    )

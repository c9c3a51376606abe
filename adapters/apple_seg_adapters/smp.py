"""segmentation_models_pytorch: every architecture has an `encoder` that returns feature maps."""

from typing import Any

from torch import Tensor

from apple_seg.host import Site


def sites(host: Any) -> list[Site]:
    """Return the feature maps, deepest first.

    The first is the image itself, and some encoders have one without channels: neither is a site.
    """
    channels: list[int] = list(host.encoder.out_channels)
    places = [place for place in range(1, len(channels)) if channels[place] > 0]
    return [Site("encoder", item=place) for place in reversed(places)]


def stages(host: Any) -> list[Site]:
    """Add what each block of a U-Net's decoder hands up."""
    blocks = getattr(host.decoder, "blocks", ())
    return [*sites(host), *(Site(f"decoder.blocks.{place}") for place in range(len(blocks)))]


def segment(host: Any, images: Tensor, **prompts: Any) -> Tensor:
    """Drop the labels that a model with a classification head returns as well."""
    output = host(images, **prompts)
    logits: Tensor = output[0] if isinstance(output, tuple) else output
    return logits

"""The frozen segmentor: its sites, what is hooked there, and how it is built and used."""

from apple_seg.host.adapters import Adapter, Segment, choose_sites, find_adapter
from apple_seg.host.checkpoint import load_checkpoint
from apple_seg.host.fingerprint import fingerprint
from apple_seg.host.frozen import channels_last, to_layout, unwrap
from apple_seg.host.inputs import Frame, Inputs, Picture, draw_prompts, frame_of, prepare, to_grid
from apple_seg.host.pipeline import Pipeline
from apple_seg.host.proof import LatentShape, disturbed
from apple_seg.host.segmentor import Example, PerturbedSegmentor, Segmentation, wrap
from apple_seg.host.site import Site
from apple_seg.host.spec import HostSpec, InputSpec, OutputSpec, PromptSpec

__all__ = [
    "Adapter",
    "Example",
    "Frame",
    "HostSpec",
    "InputSpec",
    "Inputs",
    "LatentShape",
    "OutputSpec",
    "PerturbedSegmentor",
    "Picture",
    "Pipeline",
    "PromptSpec",
    "Segment",
    "Segmentation",
    "Site",
    "channels_last",
    "choose_sites",
    "disturbed",
    "draw_prompts",
    "find_adapter",
    "fingerprint",
    "frame_of",
    "load_checkpoint",
    "prepare",
    "to_grid",
    "to_layout",
    "unwrap",
    "wrap",
]

"""Replay: the work of the frozen encoder, done once."""

from apple_seg.replay.calls import Call
from apple_seg.replay.check import Deviation, deviation
from apple_seg.replay.claim import discard_records
from apple_seg.replay.frontier import find_calls
from apple_seg.replay.opening import open_replay
from apple_seg.replay.order import Opened, Order, ReplayNote, ReplaySettings
from apple_seg.replay.playback import Records, Replay
from apple_seg.replay.recording import INSIDE, MASKS, PROMPTS, Plan, masks_of, stacked
from apple_seg.replay.store import DiskStore, Layout, MemoryStore, Store, Stream

__all__ = [
    "INSIDE",
    "MASKS",
    "PROMPTS",
    "Call",
    "Deviation",
    "DiskStore",
    "Layout",
    "MemoryStore",
    "Opened",
    "Order",
    "Plan",
    "Records",
    "Replay",
    "ReplayNote",
    "ReplaySettings",
    "Store",
    "Stream",
    "deviation",
    "discard_records",
    "find_calls",
    "masks_of",
    "open_replay",
    "stacked",
]

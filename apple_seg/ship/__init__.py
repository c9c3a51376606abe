"""What leaves: one file with the perturbers, and how it is attached to its host elsewhere."""

from apple_seg.ship.artifact import Artifact, attach, read_artifact, save

__all__ = ["Artifact", "attach", "read_artifact", "save"]

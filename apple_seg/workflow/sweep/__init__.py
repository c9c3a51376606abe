"""What a sweep varies, what came of it, and which combination its rule chooses."""

from apple_seg.workflow.sweep.choice import Sweep
from apple_seg.workflow.sweep.combinations import Combination, Plan, plan_sweep

__all__ = ["Combination", "Plan", "Sweep", "plan_sweep"]

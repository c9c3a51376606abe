"""What an audit is to do, declared before it runs."""

from dataclasses import dataclass
from math import inf

from apple_seg.errors import ConfigError
from apple_seg.measure import DEFAULT_METRICS, DEFAULT_TOLERANCE, METRICS, POLICIES
from apple_seg.names import meant


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """The `[audit]` table."""

    __pydantic_config__ = {"extra": "forbid"}

    metric: str = "dice"
    """What verdicts are taken on: an overlap, so that more is better."""

    metrics: tuple[str, ...] = DEFAULT_METRICS
    """What else is reported; `metric` always is."""

    margin: float = 0.01
    """How much of `metric` a group may lose at most."""

    difference_margin: float = 0.05
    """The difference between groups that these cases should be able to show."""

    confidence: float = 0.95
    """Of all intervals, two-sided."""

    resamples: int = 2000
    """Of the bootstrap that stands beside the t interval; 0 leaves it out."""

    seed: int = 0
    """Of the bootstrap."""

    policy: str = "skip"
    """What a score is where a mask is empty; a key of `apple_seg.measure.POLICIES`."""

    tolerance: float = DEFAULT_TOLERANCE
    """Of the NSD: in mm, or in pixels where a case has no spacing."""

    batch_size: int = 16
    """Cases in memory at once."""

    permutations: int = 2000
    """Of the test that stands beside the interval of a difference; 0 leaves it out."""

    covariates: tuple[str, ...] = ()
    """Columns of the manifest that the difference is adjusted for, with the mask's size; the
    adjustment for size alone is always there."""

    curves: tuple[str, ...] | None = None
    """Columns of numbers that the metric is drawn against; None takes those that groups cut."""

    gather: str | None = None
    """Column of the manifest that says which cases are slices of one volume: they are scored as
    that volume."""

    thickness: str | None = None
    """With `gather`: column with the millimetres from slice to slice; else distances of volumes are
    in voxels."""

    gallery: int = 3
    """Pictures of each kind and group in the report; 0 for none. Volumes that are gathered from
    slices have none."""

    def __post_init__(self) -> None:
        foreign = [name for name in (self.metric, *self.metrics) if name not in METRICS]
        if foreign:
            like = meant(foreign[0], METRICS)
            raise ConfigError(f"no metric {foreign[0]!r}{like}; known are: {', '.join(METRICS)}")
        if not METRICS[self.metric].overlap:
            overlaps = ", ".join(name for name, metric in METRICS.items() if metric.overlap)
            raise ConfigError(f"verdicts are taken on one of {overlaps}, not on {self.metric!r}")
        if self.thickness is not None and self.gather is None:
            raise ConfigError(
                f"thickness {self.thickness!r} is of gathered slices; name gather, too"
            )
        if self.policy not in POLICIES:
            like = meant(self.policy, POLICIES)
            raise ConfigError(f"no policy {self.policy!r}{like}; known are: {', '.join(POLICIES)}")
        margins = (self.margin, self.difference_margin)
        if not (0.5 <= self.confidence < 1 and all(0 < one < inf for one in margins)):
            raise ConfigError(
                "confidence goes from 0.5 to below 1, and margins are positive; got "
                f"confidence={self.confidence}, margin={self.margin}, "
                f"difference_margin={self.difference_margin}"
            )
        if not 0 <= self.tolerance < inf or self.seed < 0:
            raise ConfigError(
                f"tolerance and seed are 0 at least; got {self.tolerance} and {self.seed}"
            )
        if min(self.resamples, self.permutations, self.gallery) < 0 or self.batch_size < 1:
            raise ConfigError(
                "resamples, permutations and gallery are 0 at least, batch_size is 1 at least; got "
                f"resamples={self.resamples}, permutations={self.permutations}, "
                f"gallery={self.gallery}, batch_size={self.batch_size}"
            )

    @property
    def reported(self) -> tuple[str, ...]:
        """All metrics of the report, the one of the verdicts first."""
        return tuple(dict.fromkeys((self.metric, *self.metrics)))

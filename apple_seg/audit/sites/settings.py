"""What a survey of a host's sites is to do."""

from dataclasses import dataclass

from apple_seg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SurveySettings:
    """How many cases are looked at, and how."""

    cases: int = 1000
    """For probes, at most; evenly spaced over those of known group. 0 leaves the probes out."""

    influence_cases: int = 64
    """For influence, at most; as many of each group as there are."""

    cells: int = 8
    """Single cells of each latent that are probed, at places drawn for each case."""

    folds: int = 5
    """Parts that are held out in turn; a group needs two patients a fold to be probed."""

    confidence: float = 0.95
    """Of all intervals, two-sided."""

    seed: int = 0
    """Of cells, folds, MLPs and noise."""

    batch_size: int = 16
    """Cases in memory at once."""

    def __post_init__(self) -> None:
        counts = (self.influence_cases, self.cells, self.batch_size, self.folds - 1)
        if min(counts) < 1 or self.cases < 0 or self.seed < 0:
            raise ConfigError(
                "a survey needs influence_cases, cells and batch_size of 1 at least, folds of 2, "
                f"cases and seed of 0; got {self}"
            )
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"confidence goes from 0.5 to below 1, got {self.confidence}")


DEFAULTS = SurveySettings()

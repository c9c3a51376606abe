"""What `apple-seg sites` does: survey a host's sites, as deployed or with a perturber file."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from torch import nn

from apple_seg.audit.sites.survey import survey
from apple_seg.config import Experiment
from apple_seg.data import Cohort
from apple_seg.errors import AdapterNotFoundError, SiteError
from apple_seg.files import to_json, write_text
from apple_seg.host import PerturbedSegmentor, Site, choose_sites
from apple_seg.workflow.running import (
    SITES,
    Written,
    attach_experiment,
    perturber_of,
    perturber_shares,
    pipeline_of,
    wrapped,
)


def survey_experiment(
    experiment: Experiment,
    perturber: Path | None = None,
    *,
    progress: bool = True,
) -> Written:
    """Survey every site of the host on the validation split, and write `sites.json`.

    Args:
        experiment: Its masks may be missing; influence is then not measured.
        perturber: A file whose perturbers are attached, and probed before and after.
        progress: Whether to show progress bars.
    """
    split = experiment.splits.validation
    cohort = experiment.cohort.read_checked(experiment.groups, splits=[split], progress=progress)
    cases = cohort.split(split)
    with _everywhere(experiment, cases, perturber) as segmentor:
        result = survey(
            pipeline_of(experiment, segmentor, cases),
            cases,
            experiment.groups,
            settings=experiment.survey,
            shares=perturber_shares(segmentor, experiment.method.parts.perturber),
            progress=progress,
        )
    file = experiment.output / SITES
    write_text(file, to_json(result.to_dict()))
    return Written(result, (file,))


@contextmanager
def _everywhere(
    experiment: Experiment, cases: Cohort, perturber: Path | None
) -> Iterator[PerturbedSegmentor]:
    """Wrap the host at all sites that its adapter knows or that are named, the file's among them.

    Where the file has no perturber, the identity stands.
    """
    attached: dict[Site, nn.Module] = {}
    strength = 1.0
    if perturber is not None:
        proved = attach_experiment(experiment, perturber_of(experiment, perturber))
        proved.detach()
        attached = dict(zip(proved.sites, proved.perturbers, strict=True))
        strength = proved.strength
    sites = _sites(experiment, tuple(attached))
    with wrapped(experiment, cases, sites=sites) as segmentor:
        segmentor.install([attached.get(site, nn.Identity()) for site in segmentor.sites])
        segmentor.strength = strength
        yield segmentor.eval()


def _sites(experiment: Experiment, attached: tuple[Site, ...]) -> str | tuple[Site, ...]:
    """Return those that the adapter knows, then those only named, then those only attached."""
    named = experiment.method.parts.sites
    kinds = ("all", "stages") if named == "stages" else ("all",)
    own = attached if isinstance(named, str) else (*named, *attached)
    if not own and kinds == ("all",):
        return "all"
    known: tuple[Site, ...] = ()
    host = experiment.host.build()
    # Where sites are named, an adapter may know none.
    with suppress(AdapterNotFoundError, SiteError) if own else nullcontext():
        known = tuple(site for kind in kinds for site in choose_sites(host, kind))
    # The same tensor may be listed by two, of which the last one says what stays clean.
    places = {(site.module, site.io, site.item): site for site in (*known, *own)}
    return tuple(places.values())

"""A section to copy into a model card (Mitchell et al. 2019, FAT*, arXiv 1810.03993)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from apple_seg.audit.report.document import Block, Bullets, Prose, Section
from apple_seg.audit.report.group_tables import verdicts_said
from apple_seg.audit.report.phrases import GLOSSES, confidence, enumerate_words
from apple_seg.audit.report.reading import Result, host_of
from apple_seg.audit.results import Audit
from apple_seg.audit.tables import title_of
from apple_seg.measure import METRICS


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What an audit cannot know of a segmentor; what is left out is marked as to be written."""

    __pydantic_config__ = {"extra": "forbid"}

    details: Mapping[str, str] = field(default_factory=dict)
    """Of segmentor and perturber: name, version, checkpoint, licence, contact, date, ..."""

    intended_use: str = ""
    training_data: str = ""
    ethical_considerations: str = ""


UNKNOWN_CARD = ModelCard()


def card(result: Result, written: ModelCard) -> Section:
    """Return the headings of a model card, filled with what the audit knows."""
    host = host_of(result)
    use, trained = "for whom, for what, and for what not", "what the segmentor was trained on"
    harm = "who may be harmed by an error of the segmentor, and how"
    headings: dict[str, Block] = {
        "Model details": _details(result, written),
        "Intended use": Prose(written.intended_use or _unwritten(use)),
        "Factors": Bullets(_factors(result)),
        "Metrics": Prose(_metrics(result)),
        "Evaluation data": Prose(_data(result)),
        "Training data": Prose(written.training_data or _unwritten(trained)),
        "Quantitative analyses": Prose(
            f"{_verdicts(result)} The numbers are in the sections “By {host.attribute}” and “All "
            "attributes that were looked at”."
        ),
        "Ethical considerations": Prose(written.ethical_considerations or _unwritten(harm)),
        "Caveats and recommendations": Bullets((*result.caveats, *result.notes)),
    }
    return Section(
        name="card",
        title="Model card section",
        blocks=(
            Prose(
                "To be copied into the model card (headings of Mitchell et al. 2019). What an "
                "audit cannot know is in square brackets."
            ),
        ),
        parts=tuple(
            Section(name=f"card-{place}", title=title, blocks=(block,))
            for place, (title, block) in enumerate(headings.items())
        ),
    )


def _unwritten(what: str) -> str:
    return f"[To be written by you: {what}]"


def _details(result: Result, written: ModelCard) -> Bullets:
    """Return what is known of the segmentor and of the perturber."""
    missing = _unwritten("name, version, checkpoint and licence of the segmentor, contact, date")
    known = tuple(f"{name}: {value}" for name, value in written.details.items()) or (missing,)
    if isinstance(result, Audit):
        return Bullets(known)
    said = (
        "The perturbed host is to be the same segmentor with perturbers between its "
        "stages. An audit sees masks only and does not check that; attaching the perturber does."
    )
    return Bullets((*known, said))


def _factors(result: Result) -> tuple[str, ...]:
    hosts = (host_of(one) for one in (result, *result.others))
    return tuple(
        f"{one.attribute}: {'; '.join(one.by_group)} (reference: {one.reference})" for one in hosts
    )


def _metrics(result: Result) -> str:
    metric = result.settings.metric
    scored = host_of(result).figures
    others = [METRICS[name].title for name in scored if name in METRICS and name != metric]
    return (
        f"Verdicts are taken on {title_of(metric)}, {GLOSSES[metric]}; reported beside it: "
        f"{enumerate_words(others) or 'nothing'}. Each with its {confidence(result)} interval. A "
        f"group may lose {result.settings.margin:g} at most, and a difference of "
        f"{result.settings.difference_margin:g} is worth showing: settings, which whoever ran this "
        "audit vouches to have made before it."
    )


def _data(result: Result) -> str:
    host = host_of(result)
    counts = "; ".join(
        f"{label}: {one.cases:,} cases of {one.clusters:,} clusters"
        for label, one in host.counts.items()
        if one.cases
    )
    vouch = "That nothing was chosen on them is for whoever ran this audit to vouch for."
    return f"{len(result.cases):,} annotated cases. {counts}. {vouch}"


def _verdicts(result: Result) -> str:
    """Return every attribute's verdicts."""
    return " ".join(
        f"{host_of(one).attribute}: {verdicts_said(one)}." for one in (result, *result.others)
    )

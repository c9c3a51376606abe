"""Leakage and influence of a site to one sentence: is anything to be gained there?

A perturber can help a group by way of a site where the attribute can be read and where the masks
listen. Both are decided by intervals, so that "no" is said only where the cases can show it.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.intervals import Estimate
from apple_seg.audit.sites.influence import SiteInfluence
from apple_seg.audit.sites.leakage import LatentLeakage, SiteLeakage
from apple_seg.measure.auc import AucChange
from apple_seg.measure.probes import CONSTANT

CHANCE = 0.5
"""An attribute is decodable where the interval of one of the two probes lies above this."""

FAINT = 0.6
"""And not decodable where those of both lie below this: of two equal groups, normal and of equal
variance, the best cut at AUC 0.6 tells 57 % right, a coin 50 %."""

QUIET = 0.01
"""Dice. The mask listens where an interval, overall or of a group, erased or disturbed, says that
masks move by more than this, and does not where all say that they move by less. It is the margin
that an audit takes for harm by default. Moved, and not lost: masks that gain here and lose there
listen, however little is lost on average, and a mask that does not move loses nothing. Where masks
move, and yet all intervals of the Dice lost lie within this, that is said as well."""

BEYOND = 0.02
"""AUC. A latent gives away no more than the mask where the interval of what it has more lies below
this: a mask must show what it shows, and nobody is to be asked to hide that."""


class Answer(StrEnum):
    """What intervals say to a question."""

    YES = "yes"
    NO = "no"
    NOT_ENOUGH = "not enough cases"
    NOT_ASKED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What to make of one site."""

    decodable: Answer
    """Of what the decoder gets: with a perturber, of the perturbed latent."""

    heard: Answer
    sentence: str


_SENTENCES = {
    (Answer.YES, Answer.YES): "decodable and heard: a perturber can act here",
    (Answer.YES, Answer.NO): "decodable, but the mask does not listen: nothing to gain here",
    (Answer.YES, Answer.NOT_ENOUGH): "decodable; not enough cases to say whether the mask listens",
    (Answer.YES, Answer.NOT_ASKED): "decodable; whether the mask listens was not measured",
    (Answer.NO, Answer.YES): "the mask listens, but the attribute is not decodable here",
    (Answer.NO, Answer.NO): "not decodable and not heard: nothing to gain here",
    (Answer.NO, Answer.NOT_ENOUGH): "not decodable; not enough cases to say whether the mask "
    "listens",
    (Answer.NO, Answer.NOT_ASKED): "not decodable; whether the mask listens was not measured",
    (Answer.NOT_ENOUGH, Answer.YES): "the mask listens; not enough cases to say whether the "
    "attribute is decodable",
    (Answer.NOT_ENOUGH, Answer.NO): "the mask does not listen: nothing to gain here, decodable or "
    "not",
    (Answer.NOT_ENOUGH, Answer.NOT_ENOUGH): "not enough cases to say",
    (Answer.NOT_ENOUGH, Answer.NOT_ASKED): "not enough cases to say whether it is decodable; "
    "whether the mask listens was not measured",
    (Answer.NOT_ASKED, Answer.YES): "the mask listens; what the latent gives away was not measured",
    (Answer.NOT_ASKED, Answer.NO): "the mask does not listen: nothing to gain here",
    (Answer.NOT_ASKED, Answer.NOT_ENOUGH): "not enough cases to say whether the mask listens",
    (Answer.NOT_ASKED, Answer.NOT_ASKED): "nothing was measured here",
}


def advise(leakage: SiteLeakage | None, influence: SiteInfluence | None) -> Advice:
    """Say what to make of a site; None is what was not measured."""
    decodable = Answer.NOT_ASKED
    if leakage is not None:
        decodable = decodes(leakage.perturbed or leakage.host)
    listens = Answer.NOT_ASKED if influence is None else hears(influence)
    parts = [_SENTENCES[decodable, listens]]
    if listens is Answer.YES and influence is not None and costs_nothing(influence):
        parts.append(f"without it masks move, but lose less than {QUIET} Dice on average")
    if leakage is not None and decodable is Answer.YES:
        parts.append(_beside_mask(leakage.beyond_mask))
    if leakage is not None and leakage.perturbed is not None:
        parts.append(_changed(leakage))
    return Advice(
        decodable=decodable, heard=listens, sentence="; ".join(part for part in parts if part)
    )


def promise(leakage: SiteLeakage | None, influence: SiteInfluence | None) -> tuple[int, float]:
    """Return what sites are ordered by, the most promising one the largest.

    First whether both can be said, cannot be told, or one of them is denied; then the product of
    what is read beyond chance (AUC - 0.5, of the probe that reads most) and what erasing moves
    (1 - Dice). It orders point estimates, for readers; the advice is by intervals.
    """
    advice = advise(leakage, influence)
    answers = {advice.decodable, advice.heard}
    said = 2 if answers == {Answer.YES} else 0 if Answer.NO in answers else 1
    if leakage is None or influence is None:
        return said, 0.0
    read = (leakage.perturbed or leakage.host).strongest.auc - CHANCE
    moved = influence.erased.mask_moved.overall.value
    product = max(read, 0.0) * moved
    return said, product if isfinite(product) else 0.0


def decodes(latent: LatentLeakage) -> Answer:
    """Say whether a probe reads the attribute off a latent's means and deviations."""
    probes = (latent.linear, latent.mlp)
    if any(one.low > CHANCE for one in probes if one.known):
        return Answer.YES
    if all(one.reason == CONSTANT or (one.known and one.high < FAINT) for one in probes):
        return Answer.NO
    return Answer.NOT_ENOUGH


def hears(influence: SiteInfluence) -> Answer:
    """Say whether the masks move where a site is erased or disturbed."""
    moved = [one for effect in influence.effects.values() for one in _means(effect.mask_moved)]
    if any(one.low > QUIET for one in moved if one.known):
        return Answer.YES
    if all(one.known and one.high < QUIET for one in moved):
        return Answer.NO
    return Answer.NOT_ENOUGH


def costs_nothing(influence: SiteInfluence) -> bool:
    """Say whether no group loses or gains Dice where a site is erased or disturbed."""
    lost = [one for effect in influence.effects.values() for one in _means(effect.dice_lost)]
    return all(one.known and one.low > -QUIET and one.high < QUIET for one in lost)


def _means(figures: Disaggregated) -> list[Estimate]:
    return [figures.overall, *figures.by_group.values()]


def _beside_mask(beyond: AucChange | None) -> str:
    if beyond is None:
        return ""
    if beyond.high < BEYOND:
        return "no more than the host's own mask shows"
    if beyond.low > 0:
        return "more than the host's own mask shows"
    return "not enough cases to say whether more than the host's own mask shows"


def _changed(leakage: SiteLeakage) -> str:
    """Say what a perturber did to the AUC of the probe that read most before."""
    if leakage.perturbed is not None and leakage.perturbed.linear.reason == CONSTANT:
        return "the perturber leaves nothing that varies"
    change = (leakage.change or {}).get(leakage.host.strongest.kind)
    if change is None:
        return ""
    if change.high < 0:
        return "the perturber lowered it"
    if change.low > 0:
        return "the perturber raised it"
    return "not enough cases to say whether the perturber changed it"

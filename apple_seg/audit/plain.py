"""Audits as plain values: what their JSON holds, strict and without cases and pictures."""

from typing import Any

from apple_seg.audit.comparison import Comparison
from apple_seg.audit.inference.figures import Disaggregated
from apple_seg.audit.inference.holm import holm
from apple_seg.audit.results import Audit
from apple_seg.audit.verdicts import Judgement
from apple_seg.files import plain


def audit_dict(audit: Audit) -> dict[str, Any]:
    """Return an audit of one host; NaN is None."""
    return {
        **_declared(audit),
        **_block(audit),
        "verdict": _verdict(audit.difference_verdict),
        "p_values_holm": plain(
            holm({one.attribute: one.p_values for one in (audit, *audit.others)})
        ),
        "others": [audit_dict(one) for one in audit.others],
    }


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison; NaN is None."""
    change = _figures(comparison.change) | {
        "followed": plain(comparison.followed),
        "non_inferior": plain(comparison.non_inferior),
        "metrics": {name: _figures(one) for name, one in comparison.changes.items()},
        "by_class": {name: _figures(one) for name, one in comparison.change_by_class.items()},
        "policies": {name: _figures(one) for name, one in comparison.change_policies.items()},
        "curves": plain(comparison.change_curves),
    }
    judged = comparison.change_verdict
    return {
        **_declared(comparison.host),
        "notes": list(comparison.notes),
        "caveats": list(comparison.caveats),
        "worst_group": comparison.worst_group,
        "runs": comparison.runs,
        "host": _block(comparison.host),
        "perturbed": _block(comparison.perturbed),
        "change": change,
        "verdict": {
            **_verdict(comparison.difference_verdict),
            "difference_perturbed": str(comparison.perturbed.difference_verdict.answer),
            "change": str(judged.answer),
            "change_definition": judged.definition,
            "change_reasons": list(judged.reasons),
        },
        "others": [comparison_dict(one) for one in comparison.others],
    }


def _declared(audit: Audit) -> dict[str, Any]:
    return {
        "metric": audit.settings.metric,
        "attribute": audit.attribute,
        "reference": audit.reference,
        "settings": plain(audit.settings),
        "notes": list(audit.notes),
        "caveats": list(audit.caveats),
    }


def _block(audit: Audit) -> dict[str, Any]:
    return _figures(audit.main) | {
        "metrics": {name: _figures(one) for name, one in audit.figures.items()},
        "by_class": {name: _figures(one) for name, one in audit.by_class.items()},
        "policies": {name: _figures(one) for name, one in audit.policies.items()},
        "p_values": plain(audit.p_values),
        "dispersion": plain(audit.dispersion),
        "adjusted": plain(audit.adjusted),
        "conventions": plain(audit.conventions),
        "curves": plain(audit.curves),
        "counts": plain(audit.counts),
    }


def _figures(figures: Disaggregated) -> dict[str, Any]:
    extremes = {"group_min": figures.group_min, "group_max": figures.group_max}
    return {**plain(figures), **plain(extremes), "worst_group": figures.worst_group}


def _verdict(judgement: Judgement) -> dict[str, Any]:
    return {
        "difference": str(judgement.answer),
        "difference_definition": judgement.definition,
        "difference_reasons": list(judgement.reasons),
    }

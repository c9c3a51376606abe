"""The commands that measure: audit, compare, audit-scores, gate, skin-tone."""

from pathlib import Path
from typing import Annotated

import typer

from apple_seg.cli.app import (
    MEASURE,
    Decided,
    ExperimentFile,
    Overrides,
    Perturber,
    Quiet,
    Sites,
    app,
    console,
    list_files,
    read,
    refuse_several,
    show,
)
from apple_seg.errors import ConfigError


@app.command(rich_help_panel=MEASURE)
def audit(
    experiment: ExperimentFile,
    sites: Sites = False,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Audit the host as deployed: is there a difference between the groups?

    A file with a table [bold]predictions[/] in place of [bold]host[/] audits masks that were
    predicted elsewhere; audit-scores audits a table of finished scores.
    """
    from apple_seg.workflow import audit_experiment
    from apple_seg.workflow.from_files import audit_masks, holds_predictions, read_masks_experiment

    if holds_predictions(experiment, set_):
        _refuse_hosts_options(sites, None)
        show(audit_masks(read_masks_experiment(experiment, set_), progress=not quiet))
    else:
        show(audit_experiment(read(experiment, set_), sites=sites, progress=not quiet))


@app.command(rich_help_panel=MEASURE)
def compare(
    experiment: ExperimentFile,
    perturber: Perturber = None,
    sites: Sites = False,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Audit host and perturbed host on the same cases of the audit split, and say what changed.

    With a table [bold]predictions[/] in place of [bold]host[/], the masks of both are in files.
    """
    from apple_seg.workflow import compare_experiment
    from apple_seg.workflow.from_files import (
        compare_masks,
        holds_predictions,
        read_masks_experiment,
    )

    if holds_predictions(experiment, set_):
        _refuse_hosts_options(sites, perturber)
        show(compare_masks(read_masks_experiment(experiment, set_), progress=not quiet))
    else:
        loaded = read(experiment, set_)
        show(compare_experiment(loaded, perturber, sites=sites, progress=not quiet))


@app.command(rich_help_panel=MEASURE)
def audit_scores(
    scores: Annotated[
        Path,
        typer.Argument(
            help="CSV of per-case scores (a column dice), or nnU-Net's summary.json.",
            show_default=False,
        ),
    ],
    by: Annotated[
        list[str],
        typer.Option(
            help="Column and cuts, or column and values: age=60, sex=female,male. Repeatable; "
            "crossed: 'age=60;sex=female,male'. Numbers are cuts; numeric codes that are values "
            'need --set \'groups.by={code=["1","2"]}\' besides.',
            show_default=False,
        ),
    ],
    reference: Annotated[
        list[str],
        typer.Option(
            help="The group that differences are taken from, one for each --by: 'age < 60'.",
            show_default=False,
        ),
    ],
    perturbed: Annotated[
        list[Path],
        typer.Option(
            help="Scores to compare with, of the same cases; repeatable, one a training run."
        ),
    ] = [],  # noqa: B006
    attributes: Annotated[
        Path | None, typer.Option(help="CSV with a row a case, to be joined.", show_default=False)
    ] = None,
    on: Annotated[
        str | None, typer.Option(help="Its column that names the case.", show_default=False)
    ] = None,
    case: Annotated[
        str | None,
        typer.Option(help="The column of the scores that names the case.", show_default=False),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="The column that says who the patient is.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("runs"),
    set_: Overrides = [],  # noqa: B006
) -> None:
    """Audit finished scores, or compare two tables of them: no segmentor and no image is needed.

    apple-seg audit-scores dice.csv --by sex=female,male --reference "sex = male" --cluster patient

    Reads what audit writes, nnU-Net's summary.json, and the tables that fairmedfm reads. Options of
    the audit go by --set, e.g. --set audit.margin=0.02 --set audit.covariates='["scanner"]'.
    """
    refuse_several("audit-scores")
    from apple_seg.config import overridden
    from apple_seg.workflow.from_files import audit_tables, groups_of, scores_experiment

    first, *others = groups_of(by, reference)
    files = {"host": scores, "perturbed": perturbed, "attributes": attributes}
    named = {"on": on, "case": case, "cluster": cluster}
    tables = {"groups": first, "other_groups": others, "output": output}
    tables |= {"scores": {**files, **named}}
    show(audit_tables(scores_experiment(overridden(tables, set_))))


@app.command(rich_help_panel=MEASURE)
def gate(
    report: Annotated[
        Path, typer.Argument(help="JSON that audit or compare wrote.", show_default=False)
    ],
    max_difference: Annotated[
        float | None,
        typer.Option(help="What no reference-minus-group difference may reach.", min=0.0),
    ] = None,
    no_group_worse: Annotated[
        float | None, typer.Option(help="What no group may have lost; of a comparison.", min=0.0)
    ] = None,
) -> None:
    """Let a report pass or not, by its intervals: 0 it holds, 1 it is violated, 2 too few cases.

    Everything that is asked for must hold: an interval must lie inside the limits to pass, and
    wholly outside (allowing for how many are tested) to fail. Any error ends with status 3.

    apple-seg gate runs/comparison.json --max-difference 0.05 --no-group-worse 0.01
    """
    from apple_seg.audit.gate import gate as decide
    from apple_seg.audit.report_json import read_report

    found = decide(
        read_report(report), max_difference=max_difference, no_group_worse=no_group_worse
    )
    answers = {0: "[bold green]pass[/]", 1: "[bold red]fail[/]", 2: "[bold]not enough cases[/]"}
    console.print(answers[found.code])
    for line in found.lines:
        console.print(f"- {line}", soft_wrap=True, highlight=False, markup=False)
    raise Decided(found.code)


@app.command(rich_help_panel=MEASURE)
def skin_tone(
    experiment: ExperimentFile,
    maximum: Annotated[float, typer.Option(help="What white is in the image files.")] = 255.0,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Estimate skin tone from the images around the masks, as a column to group by.

    Writes the cohort's table with a column [bold]ita_estimate[/] (degrees; the lighter the larger;
    empty where there is too little skin). Name that file as `manifest` in the table of the cohort,
    and group by it: by = { ita_estimate = [28, 41, 55] }.

    It is an estimate of the picture, moved by camera, light and white balance: it orders the cases
    of one calibrated source, and is nobody's phototype, ethnicity or race.
    """
    refuse_several("skin-tone")
    from apple_seg.workflow import estimate_skin_tone

    written = estimate_skin_tone(read(experiment, set_), maximum=maximum, progress=not quiet)
    console.print(written.result)
    list_files(written.files)


def _refuse_hosts_options(sites: bool, perturber: Path | None) -> None:
    if sites or perturber is not None:
        raise ConfigError(
            "--sites and --perturber need the host itself, and [predictions] has its masks only"
        )

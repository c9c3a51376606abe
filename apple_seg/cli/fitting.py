"""The commands around a fit: demo, sites, fit, sweep, attach."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from apple_seg.cli.app import (
    MEASURE,
    PERTURB,
    ExperimentFile,
    Overrides,
    Perturber,
    Quiet,
    app,
    console,
    list_files,
    read,
    refuse_several,
)


@app.command(rich_help_panel=PERTURB)
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the images and of the training.")] = 0,
) -> None:
    """Plant a gap, train a host that has it, fit perturbers, compare: minutes on two idle cores.

    Writes a cohort of drawn images, a host checkpoint and an experiment file, then does what
    [bold]fit[/] and [bold]compare[/] do.
    """
    refuse_several("demo")
    from apple_seg.demo import run_demo

    written = run_demo(out, seed=seed, say=console.print)
    console.print(written.result)
    list_files(written.files)


@app.command(rich_help_panel=MEASURE)
def sites(
    experiment: ExperimentFile,
    perturber: Annotated[
        Path | None,
        typer.Option(
            "--perturber",
            help="Attach this file too, and probe what is left to be read behind its perturbers.",
            show_default=False,
        ),
    ] = None,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """List where the host can be perturbed, and say where anything is to be gained by it.

    Two things are measured at every site, on the validation split. [bold]Leakage[/]: how well the
    group of a case can be read there, by fresh probes on patients that they have not seen, beside
    how well the masks alone show it by shape and place. [bold]Influence[/]: how far the masks
    move, and the Dice that is lost, when the latent is erased (each channel becomes its mean) or
    disturbed by noise.

    A perturber can help a group where the attribute can be read and the mask listens. "Decodable,
    but the mask does not listen" means: nothing to gain here. The most promising site, leakage
    times influence, stands first. Answers are by intervals; cases
    without masks can be probed, and too few of them get "not enough cases to say".

    Writes sites.json to the output folder. How many cases are looked at: --set survey.cases=300
    (0 leaves the probes out) and --set survey.influence_cases=64.
    """
    refuse_several("sites")
    from apple_seg.audit.sites.tables import survey_text
    from apple_seg.workflow import survey_experiment

    written = survey_experiment(read(experiment, set_), perturber, progress=not quiet)
    console.print(survey_text(written.result))
    list_files(written.files)


@app.command(rich_help_panel=PERTURB)
def fit(experiment: ExperimentFile, set_: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006
    """Fit perturbers for the host, on the fit split; the epoch is chosen on the validation split.

    The host's weights stay as they are. The audit split is not read. What the frozen encoder
    gives is recorded once, in the output folder, where that pays: [bold]--set replay.store=off[/]
    runs it every time instead. A fit that was killed goes on where it was when it is started again.

    Several processes: accelerate launch --multi_gpu --num_processes 2 -m apple_seg fit FILE
    """
    from apple_seg.workflow import fit_experiment

    loaded = read(experiment, set_)
    written = fit_experiment(loaded, progress=not quiet)
    console.print(_fit_table(written.result))
    vote = written.result.vote
    if written.result.selected.epoch == 0:
        changes = "has the vote alone" if vote and vote.kept else "changes nothing"
        why = "no epoch was better for the worst group without costing another more than the margin"
        if vote and vote.fitted.epoch:
            why = f"the vote of epoch {vote.fitted.epoch} was no better than the untouched host's"
        console.print(f"[bold]The identity was chosen[/]: {why}. The file {changes}.")
    if vote and vote.kept:
        console.print(
            f"Answers are the vote of {len(vote.views)} views: as many passes a case, in audits "
            "and in production. [bold]--set method.vote=false[/] fits for one view.",
            soft_wrap=True,
        )
    note = written.result.replay
    where = loaded.replay.folder or loaded.output / "replay"
    if note.used and where.is_dir():
        console.print(
            f"The records in {where} ({note.store_bytes / 1e6:,.0f} MB) stay for the next fit; "
            "delete them when you have no use for them.",
            soft_wrap=True,
        )
    for sentence in written.notes:
        console.print(sentence, soft_wrap=True)
    list_files(written.files)


@app.command(rich_help_panel=PERTURB)
def sweep(
    experiment: ExperimentFile,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="TABLE.KEY=VALUE,VALUE",
            help="A key of [bold]method[/] or [bold]fit[/] and its values, as TOML writes them, "
            "e.g. --vary method.sites=bottleneck,all --vary method.terms.adversary=0,0.1. "
            "Repeatable: every combination is fitted.",
            show_default=False,
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(help="Each combination is fitted with each.")] = "0,1,2",
    max_fits: Annotated[int, typer.Option(help="Refuse to start more.", min=1)] = 200,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Fit many combinations with several seeds, and let the rule choose one on validation.

    apple-seg sweep FILE --vary method.sites=bottleneck,all --vary method.terms.adversary=0,0.03,0.1

    The rule ([bold]fit.selection[/]) is applied to the means over seeds, and the host as deployed
    is a candidate: the answer may be "nothing". What is shipped, as perturber.safetensors in the
    output folder, is the [bold]first[/] seed of the combination that is chosen, never the
    best-looking one. The audit split is not read: [bold]compare[/] is the one look at it.

    Fits that are done are skipped and a killed one goes on when the same command is started again;
    what the frozen encoder gives is recorded once for each set of sites. A weight of 0 takes a term
    away, which is its control. Writes sweep.json, and sweep.html with a Pareto picture
    (worst-group Dice, difference, overall Dice).
    """
    refuse_several("sweep")
    from apple_seg.audit.printed import shown
    from apple_seg.config import read_experiment
    from apple_seg.workflow.sweep import plan_sweep
    from apple_seg.workflow.sweep.words import ranking_table
    from apple_seg.workflow.sweeping import sweep_experiment

    read(experiment, set_)  # what is wrong without any variation is said so
    plan = plan_sweep(
        lambda varied: read_experiment(experiment, [*set_, *varied]), vary, seeds, most=max_fits
    )
    again = [word for one in set_ for word in ("--set", one)]
    compare = shlex.join(["apple-seg", "compare", str(experiment), *again])
    written = sweep_experiment(plan, compare=compare, progress=not quiet)
    console.print(shown(ranking_table(written.result.sweep, brief=True)))
    for line in written.result.words:
        console.print(f"- {line}", soft_wrap=True, highlight=False, markup=False)
    list_files(written.files)


@app.command(rich_help_panel=PERTURB)
def attach(
    experiment: ExperimentFile,
    perturber: Perturber = None,
    set_: Overrides = [],  # noqa: B006
    check: Annotated[
        bool, typer.Option("--check", help="Attach here and now, and prove it.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="With --check, say nothing unless it fails.")
    ] = False,
) -> None:
    """Show how to attach the perturbers in production; with --check, do it and detach again.

    The check builds the host from its own checkpoint and compares fingerprint, use and outputs.
    """
    refuse_several("attach")
    from apple_seg.ship import read_artifact
    from apple_seg.workflow import attach_experiment, perturber_of

    console.quiet = quiet and check
    loaded = read(experiment, set_)
    path = perturber_of(loaded, perturber)
    if not check:
        console.print(
            "import apple_seg\n\n"
            f"host = ...  # your {loaded.host.factory}, with its own weights\n"
            f'segmentor = apple_seg.attach(host, "{path}")\n'
            f"{_in_use(read_artifact(path)[0].views, experiment)}",
            markup=False,
            soft_wrap=True,
        )
        return
    segmentor = attach_experiment(loaded, path)
    names = ", ".join(map(str, segmentor.sites))
    segmentor.detach()
    console.print(
        f"[bold green]attached[/] to {type(segmentor.host).__name__} at {names}: fingerprint, use "
        "and outputs are those of the fit. Detached again.",
        soft_wrap=True,
    )


def _in_use(views: Sequence[str], experiment: Path) -> str:
    """Return the line of Python that segments, and what it is."""
    if len(views) == 1:
        return "logits = host(images)  # perturbed, until segmentor.detach()"
    return (
        f'plan = apple_seg.read_experiment("{experiment}")\n'
        "pipeline = apple_seg.Pipeline(segmentor, plan.host, list(plan.cohort.classes))\n"
        f"masks = pipeline(cases)  # by the vote of {len(views)} views, which was audited\n"
        "logits = host(images)  # perturbed, in one view"
    )


_TITLES = {
    "masks": "Dice on validation",
    "host": "Validation: Dice against the host's own masks, not against the truth",
    "consensus": "Validation: Dice against the mean of the host's own views where there is no mask",
}


def _fit_table(result: Any) -> Table:
    labels = list(result.selected.by_group)
    title = _TITLES[result.judged_by]
    table = Table("epoch", "overall", *labels, title=title, title_justify="left")
    for one in result.candidates:
        chosen = one.epoch == result.selected.epoch
        name = "host" if one.epoch == 0 else str(one.epoch)
        values = [f"{value:.4f}" for value in (one.overall, *one.by_group.values())]
        table.add_row(name + (" *" if chosen else ""), *values, style="bold" if chosen else None)
    if vote := result.vote:
        asked = {"untouched host's vote": vote.untouched, "vote": vote.fitted}
        for name, one in asked.items():
            if name == "vote" and one.epoch == 0:  # nothing was fitted to vote by
                continue
            kept = " *" if vote.kept and one.epoch == vote.candidate.epoch else ""
            values = [f"{value:.4f}" for value in (one.overall, *one.by_group.values())]
            name = f"{name} of {len(vote.views)} views{kept}"
            table.add_row(name, *values, style="bold" if kept else None)
    table.caption = f"* kept, by the rule '{result.settings.selection}'"
    return table

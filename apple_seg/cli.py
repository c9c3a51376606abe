"""The command line: every command reads one experiment file."""

import sys
from pathlib import Path
from typing import Annotated, Any

from apple_seg.errors import AppleSegError, ConfigError
from apple_seg.processes import first_to_fail, leads, started

try:
    import typer
    from rich.console import Console
    from rich.table import Table
except ModuleNotFoundError as missing:  # the library alone, as production has it
    sys.exit(f"error: the command line needs {missing.name}: pip install 'apple-seg[workbench]'")

app = typer.Typer(
    name="apple-seg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Measure and lower a deployed segmentor's Dice gaps between groups, its weights untouched."
    "\n\nOrder of work: [bold]sites[/] (where can it be perturbed?), [bold]audit[/] (is there a "
    "gap?), [bold]fit[/] (train and validation splits only), [bold]compare[/] (the test split, "
    "once), [bold]gate[/] (may it go on?), [bold]attach[/] (in production). [bold]demo[/] does it "
    "all on planted images."
    "\n\nExperiment files: benchmarks/experiments/*.toml, and the one that demo writes.",
)
console = Console()

ExperimentFile = Annotated[
    Path, typer.Argument(help="TOML file with host, cohort, groups and method.", show_default=False)
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="TABLE.KEY=VALUE",
        help="Change one value of the file, e.g. --set fit.epochs=10. Repeatable.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Perturber = Annotated[
    Path | None,
    typer.Option("--perturber", help="The file; by default the one in the output folder."),
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the images and of the training.")] = 0,
) -> None:
    """Plant a gap, train a host that has it, fit perturbers, compare: minutes on two idle cores.

    Writes a cohort of drawn images, a host checkpoint and an experiment file, then does what
    [bold]fit[/] and [bold]compare[/] do.
    """
    _refuse_several("demo")
    from apple_seg.demo import run_demo

    written = run_demo(out, seed=seed, say=console.print)
    console.print(written.result)
    _list_files(written.files)


@app.command()
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
    cases: Annotated[
        int, typer.Option(min=0, help="For the probes, at most; 0 leaves them out.")
    ] = 1000,
    influence_cases: Annotated[int, typer.Option(min=1, help="For the influence, at most.")] = 64,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """List where the host can be perturbed, and say where anything is to be gained by it.

    Two things are measured at every site, on the validation split. [bold]Leakage[/]: how well the
    group of a case can be read there, by fresh probes on patients that they have not seen, beside
    how well the masks alone show it by shape and place. [bold]Influence[/]: the Dice that is lost
    when the latent is erased (each channel replaced by its mean), or disturbed by noise.

    A perturber can help a group where the attribute can be read and the mask listens. "Decodable,
    but the mask does not listen" means: nothing to gain here. Answers are by intervals; cases
    without masks can be probed, and too few of them get "not enough cases to say".

    Writes sites.json to the output folder.
    """
    _refuse_several("sites")
    from apple_seg.audit.site_tables import survey_text
    from apple_seg.audit.survey_settings import SurveySettings
    from apple_seg.surveying import survey_experiment

    settings = SurveySettings(cases=cases, influence_cases=influence_cases)
    loaded = _read(experiment, set_)
    written = survey_experiment(loaded, perturber, settings=settings, progress=not quiet)
    console.print(survey_text(written.result))
    _list_files(written.files)


@app.command()
def audit(experiment: ExperimentFile, set_: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006
    """Audit the host as deployed: is there a difference between the groups?

    A file with a table [bold]predictions[/] in place of [bold]host[/] audits masks that were
    predicted elsewhere; audit-scores audits a table of finished scores.
    """
    from apple_seg.from_files import audit_masks, holds_predictions, read_masks_experiment
    from apple_seg.workflow import audit_experiment

    if holds_predictions(experiment, set_):
        _print(audit_masks(read_masks_experiment(experiment, set_), progress=not quiet))
    else:
        _print(audit_experiment(_read(experiment, set_), progress=not quiet))


@app.command()
def fit(experiment: ExperimentFile, set_: Overrides = [], quiet: Quiet = False) -> None:  # noqa: B006
    """Fit perturbers for the host, on the fit split; the epoch is chosen on the validation split.

    The host's weights stay as they are. The audit split is not read. What the frozen encoder
    gives is recorded once, in the output folder, where that pays: [bold]--set replay.store=off[/]
    runs it every time instead. A fit that was killed goes on where it was when it is started again.

    Several processes: accelerate launch --multi_gpu --num_processes 2 -m apple_seg fit FILE
    """
    from apple_seg.workflow import fit_experiment

    loaded = _read(experiment, set_)
    written = fit_experiment(loaded, progress=not quiet)
    console.print(_fit_table(written.result))
    if written.result.selected.epoch == 0:
        console.print(
            "[bold]The identity was chosen[/]: no epoch was better for the worst group "
            "without costing another more than the margin. The file changes nothing."
        )
    note = written.result.replay
    where = loaded.replay.folder or loaded.output / "replay"
    if note.used and where.is_dir():
        console.print(
            f"The records in {where} ({note.store_bytes / 1e6:,.0f} MB) stay for the next fit; "
            "delete them when you have no use for them.",
            soft_wrap=True,
        )
    _list_files(written.files)


@app.command()
def compare(
    experiment: ExperimentFile,
    perturber: Perturber = None,
    set_: Overrides = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Audit host and perturbed host on the same cases of the audit split, and say what changed.

    With a table [bold]predictions[/] in place of [bold]host[/], the masks of both are in files.
    """
    from apple_seg.from_files import compare_masks, holds_predictions, read_masks_experiment
    from apple_seg.workflow import compare_experiment

    if holds_predictions(experiment, set_):
        _print(compare_masks(read_masks_experiment(experiment, set_), progress=not quiet))
    else:
        loaded = _read(experiment, set_)
        _print(compare_experiment(loaded, perturber, progress=not quiet))


@app.command()
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
            "crossed: 'age=60;sex=female,male'.",
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
    _refuse_several("audit-scores")
    from apple_seg.config import overridden
    from apple_seg.from_files import audit_tables, groups_of, scores_experiment

    first, *others = groups_of(by, reference)
    files = {"host": scores, "perturbed": perturbed, "attributes": attributes}
    named = {"on": on, "case": case, "cluster": cluster}
    tables = {"groups": first, "other_groups": others, "output": output}
    tables |= {"scores": {**files, **named}}
    _print(audit_tables(scores_experiment(overridden(tables, set_))))


@app.command()
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
    _refuse_several("skin-tone")
    from apple_seg.workflow import estimate_skin_tone

    written = estimate_skin_tone(_read(experiment, set_), maximum=maximum, progress=not quiet)
    console.print(written.result)
    _list_files(written.files)


@app.command()
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
    from apple_seg.audit.gate import read_report

    found = decide(
        read_report(report), max_difference=max_difference, no_group_worse=no_group_worse
    )
    answers = {0: "[bold green]pass[/]", 1: "[bold red]fail[/]", 2: "[bold]not enough cases[/]"}
    console.print(answers[found.code])
    for line in found.lines:
        console.print(f"- {line}", soft_wrap=True, highlight=False, markup=False)
    raise _Decided(found.code)


@app.command()
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
    _refuse_several("attach")
    from apple_seg.workflow import attach_experiment, perturber_of

    console.quiet = quiet and check
    loaded = _read(experiment, set_)
    path = perturber_of(loaded, perturber)
    if not check:
        console.print(
            "import apple_seg\n\n"
            f"host = ...  # your {loaded.host.factory}, with its own weights\n"
            f'segmentor = apple_seg.attach(host, "{path}")\n'
            "logits = host(images)  # perturbed, until segmentor.detach()",
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


class _Decided(Exception):  # noqa: N818 - an answer, not an error
    """What a gate decided, on its way to the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def main() -> None:
    """Run the command line; errors that we raise on purpose end in one line and status 1.

    Of several processes the first prints. An error is printed by the process that has it, and once
    where all have it; the launcher then ends the others. A gate's statuses 1 and 2 are answers, so
    that its errors, wrong options among them, end with 3.
    """
    console.quiet = not leads()
    gated = sys.argv[1:2] == ["gate"]
    try:
        app()
    except _Decided as answer:
        sys.exit(answer.status)
    except SystemExit as ended:
        sys.exit(3 if gated and ended.code else ended.code)
    except (AppleSegError, OSError) as error:
        if first_to_fail():
            Console(stderr=True).print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
        sys.exit(3 if gated else 1)


def _refuse_several(command: str) -> None:
    if started() > 1:
        raise ConfigError(
            f"`{command}` works in one process, and {started()} were started: run it without "
            "`accelerate launch` or torchrun"
        )


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _read(path: Path, overrides: list[str]) -> Any:
    from apple_seg.config import read_experiment

    _find_factories(path)
    return read_experiment(path, overrides)


def _find_factories(path: Path) -> None:
    """Let a host's factory lie beside the experiment file, or where the command is run."""
    sys.path[:0] = [str(Path.cwd()), str(path.resolve().parent)]


def _print(written: Any) -> None:
    console.print(written.result)
    if written.audited > 1:
        console.print(
            f"[bold]This perturber file has now been compared {written.audited} times.[/] Choose "
            "on validation: picking among looks at these cases flatters their numbers."
        )
    _list_files(written.files)


def _list_files(files: tuple[Path, ...]) -> None:
    for path in files:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)


def _fit_table(result: Any) -> Table:
    labels = list(result.selected.by_group)
    table = Table("epoch", "overall", *labels, title="Dice on validation", title_justify="left")
    for one in result.candidates:
        chosen = one.epoch == result.selected.epoch
        name = "host" if one.epoch == 0 else str(one.epoch)
        values = [f"{value:.4f}" for value in (one.overall, *one.by_group.values())]
        table.add_row(name + (" *" if chosen else ""), *values, style="bold" if chosen else None)
    table.caption = f"* kept, by the rule '{result.settings.selection}'"
    return table


if __name__ == "__main__":
    main()

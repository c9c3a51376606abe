"""What all commands share: the application, its options, and how they read and print."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from apple_seg.errors import ConfigError
from apple_seg.processes import started

app = typer.Typer(
    name="apple-seg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Measure and lower a deployed segmentor's Dice gaps between groups, its weights untouched."
    "\n\nOrder of work: [bold]sites[/] (where can it be perturbed?), [bold]audit[/] (is there a "
    "gap?), [bold]fit[/] (train and validation splits only), or [bold]sweep[/] (many settings, one "
    "choice on validation), [bold]compare[/] (the test split, once), [bold]gate[/] (may it go "
    "on?), [bold]attach[/] (in production). [bold]demo[/] does it all on planted images."
    "\n\nExperiment files: the README explains one, and demo writes one.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version("apple-seg"))
        raise typer.Exit


@app.callback()
def _options(
    _asked: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Which version this is."),
    ] = False,
) -> None:
    """Take what stands before the command."""


console = Console()

MEASURE, PERTURB = "Measure", "Perturb"
"""Panels of the help."""

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
Sites = Annotated[
    bool,
    typer.Option(
        "--sites", help="Survey the sites too, on validation (see sites), for the report."
    ),
]
Perturber = Annotated[
    Path | None,
    typer.Option("--perturber", help="The file; by default the one in the output folder."),
]


class Decided(Exception):  # noqa: N818 - an answer, not an error
    """What a gate decided, on its way to the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def refuse_several(command: str) -> None:
    """Raise where a launcher started several processes of a command that works in one."""
    if started() > 1:
        raise ConfigError(
            f"`{command}` works in one process, and {started()} were started: run it without "
            "`accelerate launch` or torchrun"
        )


def escaped(text: str) -> str:
    """Return text without what rich would take for markup."""
    from rich.markup import escape

    return escape(text)


def read(path: Path, overrides: list[str]) -> Any:
    """Read an experiment file with a host."""
    from apple_seg.config import read_experiment

    _find_factories(path)
    return read_experiment(path, overrides)


def _find_factories(path: Path) -> None:
    """Let a host's factory lie beside the experiment file, or where the command is run."""
    sys.path[:0] = [str(Path.cwd()), str(path.resolve().parent)]


def show(written: Any) -> None:
    """Print a result and where it was written."""
    console.print(written.result)
    if written.audited > 1:
        console.print(
            f"[bold]What is fitted here has now been compared {written.audited} times.[/] Choose "
            "on validation: picking among looks at these cases flatters their numbers."
        )
    list_files(written.files)


def list_files(files: tuple[Path, ...]) -> None:
    """Print what was written."""
    for path in files:
        console.print(f"wrote {path}", soft_wrap=True, highlight=False, markup=False)

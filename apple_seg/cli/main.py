"""The entry point: commands, errors in one line, and exit statuses."""

import sys
import traceback

from apple_seg.errors import AppleSegError
from apple_seg.processes import first_to_fail, leads

try:
    from rich.console import Console

    # Both register their commands by being imported.
    from apple_seg.cli import auditing, fitting  # noqa: F401
    from apple_seg.cli.app import Decided, app, console, escaped
except ModuleNotFoundError as missing:  # the library alone, as production has it
    needed = f"error: the command line needs {missing.name}: pip install 'apple-seg[workbench]'"
    sys.stderr.write(f"{needed}\n")
    sys.exit(3 if sys.argv[1:2] == ["gate"] else 1)


def main() -> None:
    """Run the command line; errors that we raise on purpose end in one line and status 1.

    Of several processes the first prints. An error is printed by the process that has it, and once
    where all have it; the launcher then ends the others. A gate's statuses 1 and 2 are answers, so
    that its errors, wrong options and unexpected ones among them, end with 3.
    """
    console.quiet = not leads()
    gated = sys.argv[1:2] == ["gate"]
    try:
        app()
    except Decided as answer:
        sys.exit(answer.status)
    except SystemExit as ended:
        sys.exit(3 if gated and ended.code else ended.code)
    except (AppleSegError, OSError) as error:
        if first_to_fail():
            Console(stderr=True).print(f"[bold red]error:[/] {escaped(str(error))}", soft_wrap=True)
        sys.exit(3 if gated else 1)
    except BaseException:
        if not gated:
            raise
        # Python itself would end with 1, which says that the report fails.
        traceback.print_exc()
        sys.exit(3)

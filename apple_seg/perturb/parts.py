"""A part of a method, as a file names it: `"lean"`, or `{ name = "lean", rank = 16 }`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from apple_seg.errors import ConfigError
from apple_seg.names import meant

Part = str | Mapping[str, Any]
"""A name, or a table with the name and its options."""

T = TypeVar("T")


def name_and_options(part: Part) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a part.

    Raises:
        ConfigError: A table has no name.
    """
    if isinstance(part, str):
        return part, {}
    options = dict(part)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f'a table needs a name, as in {{ name = "..." }}; got {options}')
    return name, options


def check_part(what: str, part: Part, known: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse a part that is not known, or that does not take its options.

    Raises:
        ConfigError: Which names or options there are.
    """
    name, options = name_and_options(part)
    if name not in known:
        raise ConfigError(
            f"no {what} called {name!r}{meant(name, known)}; known are: {', '.join(known)}"
        )
    if lost := sorted({*options} - {*options_of(known[name])}):
        takes = ", ".join(options_of(known[name])) or "none"
        raise ConfigError(
            f"the {what} {name!r} has no option {', '.join(lost)}; its options are: {takes}"
        )


def make_part(part: Part, known: Mapping[str, Callable[..., T]], *given: Any, **more: Any) -> T:
    """Make what a part names, from what is given and its options."""
    name, options = name_and_options(part)
    return known[name](*given, **more, **options)


def options_of(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the options that a file may set, with their defaults: keywords that have one."""
    return {
        name: one.default
        for name, one in inspect.signature(make).parameters.items()
        if one.kind is one.KEYWORD_ONLY and one.default is not one.empty
    }

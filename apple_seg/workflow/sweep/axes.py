"""What `--vary KEY=VALUE,VALUE` asks for."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from apple_seg.config import overridden
from apple_seg.errors import ConfigError
from apple_seg.names import meant

_VARIED = ("method", "fit")
"""Tables that may be varied: with another host or other cases, nothing could be compared."""

_ONE_FOR_ALL = {
    "fit.seed": "seeds are named by --seeds",
    "fit.selection": "the rule that chooses is one for all combinations: name it with --set",
    "fit.margin": "the margin of the rule is one for all combinations: name it with --set",
}


class Axis(NamedTuple):
    """One key and the values that it takes, as they were written."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "Axis":
        """Read `table.key=value,value`.

        Raises:
            ConfigError: It is no such thing, or may not be varied.
        """
        key, equals, listed = (part.strip() for part in text.partition("="))
        if not (equals and key):
            raise ConfigError(f"--vary is TABLE.KEY=VALUE,VALUE, got {text!r}")
        _check_key(key)
        values = _split(listed)
        if not all(values):
            raise ConfigError(
                f"--vary {text!r} has {'an empty value' if listed else 'no values'}; an empty text "
                'is written ""'
            )
        if len(values) == 1:
            raise ConfigError(
                f"--vary {text!r} has one value, and nothing to compare it with: name another, "
                f"separated by a comma, or fix it with --set {text}"
            )
        said = [repr(value_of(value)) for value in values]
        if twice := [value for nth, value in enumerate(values) if said[nth] in said[:nth]]:
            raise ConfigError(f"--vary {text!r} names {twice[0]} twice")
        return cls(key, tuple(values))


def read_axes(texts: Sequence[str]) -> list[Axis]:
    """Read what is varied.

    Raises:
        ConfigError: See `Axis.read`; or nothing is varied, or the same value twice.
    """
    axes = [Axis.read(text) for text in texts]
    if not axes:
        raise ConfigError("nothing to sweep over: name a key and its values with --vary")
    for one, other in itertools.permutations(axes, 2):
        if f"{other.key}.".startswith(f"{one.key}."):
            raise ConfigError(f"--vary {one.key} and --vary {other.key} change the same value")
    return axes


def value_of(text: str) -> Any:
    """Return a value as TOML reads it; bare words are strings."""
    return overridden({}, [f"value={text}"])["value"]


def _check_key(key: str) -> None:
    table = key.partition(".")[0]
    if table not in _VARIED or key in _VARIED:
        raise ConfigError(
            f"--vary {key}: what may be varied are keys of {' and '.join(_VARIED)}"
            f"{meant(table, _VARIED)}, such as method.sites; host and cases stay the same for all, "
            "or nothing could be compared"
        )
    if key in _ONE_FOR_ALL:
        raise ConfigError(f"--vary {key}: {_ONE_FOR_ALL[key]}")


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no string, list or table."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if depth or quote:
        raise ConfigError(f"a bracket or a quote in {text!r} is not closed")
    return [part.strip() for part in parts]

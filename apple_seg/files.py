"""Results to files: strict JSON, and never a half-written file."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as objects, NaN and infinities as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, str) else value


def to_json(content: Mapping[str, Any]) -> str:
    """Write strict JSON: whatever reads it needs no extension for NaN."""
    return json.dumps(plain(content), indent=1, allow_nan=False) + "\n"


def to_json_line(content: Mapping[str, Any]) -> str:
    """Write strict JSON in one line."""
    return json.dumps(plain(content), allow_nan=False) + "\n"


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`: renamed to it at the end, removed after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8, its line ends as they are."""
    write_bytes(path, text.encode())

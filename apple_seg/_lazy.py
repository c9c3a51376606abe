"""Public names that are imported when first used, so that production needs no workbench."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from apple_seg.errors import MissingExtraError


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562) that finds each name in its home.

    Args:
        package: The `__name__` of the module.
        homes: Public name to the module that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(import_module(homes[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("apple_seg"):
                raise
            raise MissingExtraError(
                f"{package}.{name} needs {error.name}: pip install 'apple-seg[workbench]'"
            ) from error

    return find

"""Names that are not known, and which of the known ones may have been meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def meant(given: object, known: Iterable[object]) -> str:
    """Return ` (did you mean 'dice'?)` for what is spelt much like a known name, else nothing.

    Capitals do not matter; what is known already is no mistake.
    """
    names = {str(name).casefold(): str(name) for name in known}
    close = get_close_matches(str(given).casefold(), names, n=1, cutoff=0.7)
    if not close or names[close[0]] == str(given):
        return ""
    return f" (did you mean {names[close[0]]!r}?)"

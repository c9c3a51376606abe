"""A report as one HTML file: no network, no script, and it prints."""

import io
from base64 import b64encode
from importlib.resources import files

from apple_seg.audit.gallery import LINES
from apple_seg.audit.report.document import Document

_QUALITY = 88


def page(document: Document) -> str:
    """Write a document as HTML."""
    from jinja2 import Environment, StrictUndefined

    folder = files("apple_seg.audit.report")
    source, style = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css")
    )
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    return template.render(document=document, style=style, lines=LINES, one_picture=_picture)


def _picture(png: bytes) -> str:
    """Return a picture as a data URI: JPEG, a fifth of the size of PNG."""
    from PIL import Image

    content = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    # Contours are thin lines of colour, which halved colour channels would smear.
    picture.save(content, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(content.getvalue()).decode()}"

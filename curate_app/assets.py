"""Templates, strings and static files: everything a page is made of, read once at import. All values are escaped."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

if TYPE_CHECKING:
    from gradio.themes import Base

HERE = Path(__file__).parent
STATIC = HERE / "static"
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def static_version() -> str:
    """A digest of all static files, which changes when any of them does."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


# The version is in the path, so files may be cached for good and modules import each other by relative names.
STATIC_URL = f"/static/{static_version()}"
TEXT: dict[str, Any] = json.loads((STATIC / "strings.en.json").read_text(encoding="utf-8"))


def render(template: str, **values: Any) -> str:
    """A template of curate_app/templates filled in; values are escaped, a missing one is an error."""
    return _templates.get_template(template).render(**values)


def head(*files: str) -> str:
    """Tags for a page's head: stylesheets, modules preloaded, the icon, and digits not taken for telephone numbers."""
    tags = {".css": '<link rel="stylesheet" href="{}">', ".js": '<link rel="modulepreload" href="{}">'}
    links = "".join(tags[Path(file).suffix].format(f"{STATIC_URL}/{file}") for file in ("base.css", *files))
    return (
        f"{links}"
        f'<link rel="icon" type="image/svg+xml" href="{STATIC_URL}/icon.svg">'
        '<meta name="color-scheme" content="light dark"><meta name="format-detection" content="telephone=no">'
        '<meta name="robots" content="noindex">'
    )


def theme() -> "Base":
    """Gradio's plain theme with the system's fonts (its default asks Google for some) and our page colours."""
    from gradio.themes import Base  # takes seconds, which a report needn't spend

    return Base(font=SANS, font_mono=MONO).set(
        body_background_fill="#f7f6f2",
        body_background_fill_dark="#131417",
        body_text_color="#17191e",
        body_text_color_dark="#eceae4",
    )

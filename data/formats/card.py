"""The data card of an export: README.md, which says what the files hold, how to read them, and what they don't tell."""

import html
import json
from collections.abc import Sequence
from datetime import date

from data.filters import Filter
from data.formats.records import Field, Format, Written

STATISTICS = ("answers", "picks", "raters", "sessions", "generations")


def card(
    study: str, format_: Format, written: Written, counts: dict[str, int], where: Sequence[Filter], images: int, *,
    panel_ids: bool,
) -> str:  # fmt: skip
    """The card as Markdown with a YAML head, as Hugging Face's hub reads it.

    Args:
        study: the study's name; any text.
        format_: what was written.
        written: how much of it.
        counts: answers, picks, raters, sessions and generations in the export.
        where: its conditions.
        images: files in images/.
        panel_ids: whether it tells who raters are.
    """
    parts = [
        _head(study, format_),
        f"# Picks of the study {_plain(study)}\n\nExported by curate on {date.today().isoformat()}. {format_.about}",
        "It holds " + ", ".join(f"{counts[name]:,} {name}" for name in STATISTICS) + f"; {written.rows:,} rows.",
        _conditions(where),
        _left_out(written.left_out),
        f"## Reading it\n\n```python\n{format_.reading}\n```",
        f"## Limits\n\n{format_.limits}" if format_.limits else "",
        _people(panel_ids),
        f"## Images\n\nimages/ holds {images:,} PNGs, named by the sha256 of their bytes." if images else "",
        _table(written.fields),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(study: str, format_: Format) -> str:
    lines = [f"pretty_name: {_quoted(f'Picks of the study {study}')}", "tags:", "- preferences", "- choice-model"]
    if format_.file.endswith(".parquet"):
        lines += ["configs:", "- config_name: default", "  data_files:", f"  - split: train\n    path: {format_.file}"]
    return "---\n" + "\n".join(lines) + "\n---"


def _conditions(where: Sequence[Filter]) -> str:
    said = ", ".join(_code(f"{one.column} {one.operator} {'' if one.value is None else one.value}") for one in where)
    return f"Only answers with {said} are in it." if where else ""


def _left_out(left_out: dict[str, int]) -> str:
    if not left_out:
        return ""
    return "Answers that this format can't hold and leaves out:\n\n" + "\n".join(
        f"- {n:,}: {reason}" for reason, n in sorted(left_out.items())
    )


def _people(panel_ids: bool) -> str:
    if panel_ids:
        said = (
            "**This export tells who the raters are to their panel.** Don't publish it; delete it once it has served."
        )
    else:
        said = (
            "Raters stand under pseudonyms that are the same within this study and others in every other study; who "
            "they are to a panel isn't in it."
        )
    return (
        f"## Raters\n\n{said} Answers of sessions that withdrew are marked where the format has the column withdrawn."
    )


def _table(fields: Sequence[Field]) -> str:
    if not fields:
        return ""
    rows = "\n".join(f"| `{one.name}` | {one.kind}{', a list' * one.many} | {one.about} |" for one in fields)
    return f"## Columns\n\n| column | kind | |\n|---|---|---|\n{rows}"


def _plain(text: str) -> str:
    """Any text as one line that Markdown and HTML show as it is."""
    line = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{character}" if character in "\\`*_{}[]()#+-.!|~$" else character for character in line)


def _quoted(text: str) -> str:
    """Any text in YAML's double quotes."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(one if " " <= one <= "~" else f"\\U{ord(one):08X}" for one in plain)


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("`", "'") + "`"

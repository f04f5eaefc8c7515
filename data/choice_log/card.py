"""The files beside an export: its data card (README.md) and Croissant 1.1 metadata."""

import hashlib
import html
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from data.choice_log.source import Field, Format, Written
from data.schema import Filter

STATISTICS = ("answers", "picks", "raters", "sessions", "generations")
SPECIFICATION = "http://mlcommons.org/croissant/1.1"
MEDIA = {".csv": "text/csv", ".parquet": "application/x-parquet", ".json": "application/json", ".toi": "text/plain"}
TYPES = {
    "integer": "sc:Integer", "number": "sc:Float", "boolean": "sc:Integer", "text": "sc:Text", "json": "sc:Text",
    "image": "sc:ImageObject",
}  # fmt: skip
OWN_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip


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


CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    **{term: f"cr:{term}" for term in OWN_TERMS},
}


def metadata(study: str, format_: Format, written: Written, folder: Path, images: int) -> dict[str, Any]:
    """The metadata as JSON-LD.

    Args:
        study: the study's name.
        format_: what was written.
        written: its fields.
        folder: the export; the data file is in it.
        images: how many files images/ has.
    """
    data = folder / format_.file
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATION,
        "name": f"picks of {study}",
        "description": f"Picks of the study {study}. {format_.about}",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": [_file(data, format_.file), *(_images() if images else [])],
        **({"recordSet": [_records(format_.file, written)]} if written.fields else {}),
    }


def _file(path: Path, name: str) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": MEDIA[path.suffix],
        "sha256": sha256,
    }


def _images() -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileSet",
            "@id": "images",
            "name": "images",
            "description": "PNGs, named by the sha256 of their bytes.",
            "encodingFormat": "image/png",
            "includes": "images/*.png",
        }
    ]


def _records(file: str, written: Written) -> dict[str, Any]:
    fields = [_field(file, one) for one in written.fields]
    return {"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}


def _field(file: str, one: Field) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": one.name}}
    if one.kind == "image":
        source["transform"] = {"jsonPath": "bytes"}
    found = {
        "@type": "cr:Field",
        "@id": f"records/{one.name}",
        "name": one.name,
        "description": one.about,
        "dataType": TYPES[one.kind],
        "source": source,
    }
    return {**found, "isArray": True, "arrayShape": "-1"} if one.many else found

"""Writing an export, whole or not at all: a file, or a folder with data card, Croissant 1.1 metadata and images."""

import hashlib
import html
import io
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from data.choice_log.formats import write_batches
from data.choice_log.source import Field, Filter, Format, Source, Written
from data.schema import NAMES
from data.secret_file import FOLDER_MODE, MODE
from data.store import Store

PAGE = 1_000  # answers
CARD, METADATA = "README.md", "croissant.json"
FILE_NAME = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")
STATISTICS = ("answers", "picks", "raters", "sessions", "generations")
SPECIFICATION = "http://mlcommons.org/croissant/1.1"
MEDIA = {
    ".csv": "text/csv", ".parquet": "application/x-parquet", ".json": "application/json",
    ".jsonl": "application/jsonl", ".toi": "text/plain",
}  # fmt: skip
TYPES = {
    "integer": "sc:Integer", "number": "sc:Float", "boolean": "sc:Integer", "text": "sc:Text", "json": "sc:Text",
    "image": "sc:ImageObject", "bytes": "sc:ImageObject",
}  # fmt: skip
OWN_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
    "subField", "transform",
)  # fmt: skip
PANEL_WARNING = (
    "**This export tells who the raters are to their panel.** Don't publish it; delete it once it has served."
)
PSEUDONYMS = (
    "Raters stand under pseudonyms that are the same within this study and others in every other study; who they are "
    "to a panel isn't in it."
)
IMAGE_FILES = {
    "@type": "cr:FileSet",
    "@id": "images",
    "name": "images",
    "description": "PNGs, named by the sha256 of their bytes.",
    "encodingFormat": "image/png",
    "includes": "images/*.png",
}
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


def csv_pages(store: Store, study: str, salt: str = "") -> Iterator[str]:
    """The log as CSV text in pieces, the same as `curate export` writes it to a file.

    The answers are those of the first moment; flags and withdrawals are as they stand when a piece is read.
    """
    yield ",".join(NAMES) + "\r\n"
    last = store.last_pick()
    for after in range(0, last, PAGE):
        text, until = io.StringIO(), min(after + PAGE, last)
        page = Filter("choice_id", ">", after), Filter("choice_id", "<=", until)
        write_batches(text, Source(store, study, salt, page))
        yield text.getvalue()


def export(source: Source, format_: Format, out: Path, *, images: bool = True, replace: bool = False) -> Written:
    """Writes the choice log to a file (a path with a suffix, such as picks.csv) or to a folder (a path without one).

    A folder has the data, README.md (the data card), croissant.json and, unless `images` is false, images/<sha256>.png.
    With panels' ids it is readable by its owner alone.

    Raises:
        ValueError: something is there already, there is no folder to write into, or the format needs one of its own.
    """
    single = check_out(format_, out, replace=replace)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        if single:
            written = format_.write(source, draft / out.name)
            if source.panel_ids:
                (draft / out.name).chmod(MODE)
            (draft / out.name).replace(out)
        else:
            folder = draft / "export"
            written = write_folder(source, format_, folder, images=images)
            folder.chmod(FOLDER_MODE if source.panel_ids else 0o755)
            replaced = draft / "replaced"
            try:
                if out.exists():
                    out.rename(replaced)
                folder.rename(out)
            except BaseException:
                if replaced.exists() and not out.exists():
                    replaced.rename(out)
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written


def check_out(format_: Format, out: Path, *, replace: bool = False) -> bool:
    """True if an export to this path is a file, rather than a folder.

    Raises:
        ValueError: it can't be written, and why.
    """
    single = bool(FILE_NAME.search(out.name)) and not out.is_dir()
    if single and format_.folder_only:
        raise ValueError(f"{format_.name} is a folder of files; choose an --out without a suffix, not {out.name}.")
    if not out.parent.is_dir():
        raise ValueError(f"There is no folder {out.parent} to write {out.name} into.")
    if out.exists() and not replace:
        raise ValueError(f"{out} is there already; add --force to replace it, or choose another --out.")
    if out.is_dir() and not {CARD, METADATA} <= {path.name for path in out.iterdir()}:
        raise ValueError(f"{out} is a folder that no export made, so it isn't replaced; choose another --out.")
    return single


def write_folder(source: Source, format_: Format, folder: Path, *, images: bool) -> Written:
    """Writes the data, the images and the files that describe them into a new folder."""
    (folder / format_.file).parent.mkdir(parents=True)
    n_images = 0
    with source.store.read():  # the data, the images and the counts are of one moment
        written = format_.write(source, folder / format_.file)
        for sha256, png in source.images() if images and not format_.own_images else ():
            (folder / "images").mkdir(exist_ok=True)
            (folder / "images" / f"{sha256}.png").write_bytes(png)
            n_images += 1
        text = card(source, format_, written, source.counts(), n_images)
    (folder / CARD).write_text(text, encoding="utf-8")
    described = metadata(source.study, format_, written, folder, n_images)
    (folder / METADATA).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def card(source: Source, format_: Format, written: Written, counts: dict[str, int], images: int) -> str:
    """The data card as Markdown with a YAML head, as Hugging Face's hub reads it.

    Args:
        source: what was exported; the study's name may be any text.
        format_: what was written.
        written: how much of it.
        counts: answers, picks, raters, sessions and generations in the export.
        images: files in images/.
    """
    title = f"Picks of the study {source.study}"
    head = [f"pretty_name: {yaml_text(title)}", "tags:", "- preferences", "- choice-model"]
    if format_.file.endswith(".parquet"):
        head += ["configs:", "- config_name: default", "  data_files:", f"  - split: train\n    path: {format_.file}"]
    conditions = [
        f"{filter_.column} {filter_.operator} {'' if filter_.value is None else filter_.value}"
        for filter_ in source.where
    ]
    conditions = ["`" + " ".join(text.split()).replace("`", "'") + "`" for text in conditions]
    left_out = "\n".join(f"- {n:,}: {reason}" for reason, n in sorted(written.left_out.items()))
    columns = [
        f"| `{column.name}` | {column.kind}{', a list' * column.many} | {column.about} |" for column in written.fields
    ]
    about_raters = PANEL_WARNING if source.panel_ids else PSEUDONYMS
    parts = [
        "---\n" + "\n".join(head) + "\n---",
        f"# Picks of the study {markdown_text(source.study)}\n\n"
        f"Exported by curate on {date.today().isoformat()}. {format_.about}",
        "It holds " + ", ".join(f"{counts[name]:,} {name}" for name in STATISTICS) + f"; {written.rows:,} rows.",
        f"Only answers with {', '.join(conditions)} are in it." if conditions else "",
        f"Answers that this format can't hold and leaves out:\n\n{left_out}" if left_out else "",
        f"## Reading it\n\n```python\n{format_.reading}\n```",
        f"## Limits\n\n{format_.limits}" if format_.limits else "",
        f"## Raters\n\n{about_raters} Answers of sessions that withdrew are marked where the format has the column "
        "withdrawn.",
        f"## Images\n\nimages/ holds {images:,} PNGs, named by the sha256 of their bytes." if images else "",
        "## Columns\n\n| column | kind | |\n|---|---|---|\n" + "\n".join(columns) if columns else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_text(text: str) -> str:
    """Any text as one line that Markdown and HTML show as it is."""
    line = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{character}" if character in "\\`*_{}[]()#+-.!|~$" else character for character in line)


def yaml_text(text: str) -> str:
    """Any text in YAML's double quotes."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(character if " " <= character <= "~" else f"\\U{ord(character):08X}" for character in plain)


def metadata(study: str, format_: Format, written: Written, folder: Path, images: int) -> dict[str, Any]:
    """The Croissant metadata as JSON-LD.

    Args:
        study: the study's name.
        format_: what was written.
        written: its fields.
        folder: the export; the data file is in it.
        images: the number of files in images/.
    """
    data = folder / format_.file
    with data.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    distribution = [
        {
            "@type": "cr:FileObject",
            "@id": format_.file,
            "name": format_.file,
            "contentUrl": format_.file,
            "contentSize": f"{data.stat().st_size} B",
            "encodingFormat": MEDIA.get(data.suffix, "application/octet-stream"),
            "sha256": sha256,
        }
    ]
    fields = [croissant_field(format_.file, column) for column in written.fields]
    records = {"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": SPECIFICATION,
        "name": f"picks of {study}",
        "description": f"Picks of the study {study}. {format_.about}",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": [*distribution, IMAGE_FILES] if images else distribution,
        **({"recordSet": [records]} if fields else {}),
    }


def croissant_field(file: str, column: Field) -> dict[str, Any]:
    """A column of the data file as a Croissant field."""
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": column.name}}
    if column.kind == "image":
        source["transform"] = {"jsonPath": "bytes"}
    described = {
        "@type": "cr:Field",
        "@id": f"records/{column.name}",
        "name": column.name,
        "description": column.about,
        "dataType": TYPES[column.kind],
        "source": source,
    }
    return {**described, "isArray": True, "arrayShape": "-1"} if column.many else described

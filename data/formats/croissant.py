"""Croissant 1.1 metadata of an export: which files there are, with their hashes, and what their columns mean."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.formats.records import Field, Format, Written

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

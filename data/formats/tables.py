"""Parquet files written batch by batch, and the image columns that Hugging Face's datasets reads as pictures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.formats.records import Field

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 100_000  # rows of a row group without images
IMAGE_GROUP = 500


def write_table(path: Path, fields: Sequence[Field], batches: Iterator[Mapping[str, Sequence[Any]]]) -> int:
    """Writes a Parquet file in row groups, with no more in memory than one of them; returns the number of rows.

    Images are `image_cell`s. The file's metadata tells Hugging Face's datasets what each column is.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(fields)
    size = IMAGE_GROUP if any(one.kind == "image" for one in fields) else GROUP
    n, waiting = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(pa.table([pa.array(batch[one.name], _type(one)) for one in fields], schema=schema))
            if sum(len(table) for table in waiting) >= size:
                n += _write(writer, waiting)
        n += _write(writer, waiting)
    return n


def image_cell(sha256: str, png: bytes) -> dict[str, bytes | str]:
    """An image as datasets keeps it in a column."""
    return {"bytes": png, "path": f"{sha256}.png"}


def in_batches(rows: Iterator[tuple], names: Sequence[str]) -> Iterator[dict[str, list]]:
    """Rows as columns, `IMAGE_GROUP` rows at a time."""
    held = []
    for row in rows:
        held.append(row)
        if len(held) == IMAGE_GROUP:
            yield dict(zip(names, map(list, zip(*held, strict=True)), strict=True))
            held = []
    if held:
        yield dict(zip(names, map(list, zip(*held, strict=True)), strict=True))


def _write(writer: Any, waiting: list) -> int:
    import pyarrow as pa

    if not waiting:
        return 0
    table = pa.concat_tables(waiting)
    waiting.clear()
    writer.write_table(table, row_group_size=len(table))
    return len(table)


def _schema(fields: Sequence[Field]) -> "pa.Schema":
    import pyarrow as pa

    features = {one.name: _feature(one) for one in fields}
    schema = pa.schema([pa.field(one.name, _type(one)) for one in fields])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _type(one: Field) -> "pa.DataType":
    import pyarrow as pa

    types = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.int8(),
        "text": pa.string(),
        "json": pa.string(),
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    }
    return pa.list_(types[one.kind]) if one.many else types[one.kind]


def _feature(one: Field) -> dict[str, Any]:
    types = {"integer": "int64", "number": "float64", "boolean": "int8", "text": "string", "json": "string"}
    plain = {"_type": "Image"} if one.kind == "image" else {"dtype": types[one.kind], "_type": "Value"}
    return {"feature": plain, "_type": "List"} if one.many else plain

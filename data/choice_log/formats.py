"""The formats: long and wide tables, Hugging Face's datasets and imagefolder, and what other tools read.

Each is a function that writes, and a `Format` that names it.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from data.choice_log.source import Answer, Field, Format, Source, Written
from data.schema import Column

if TYPE_CHECKING:
    import pyarrow as pa

STARTS = frozenset("=+-@\t\r\n＝＋－＠")  # OWASP's list, with the full-width forms
ITEM_COLUMNS = (
    "sample_id", "sample_generation", "sample_seed", "image_sha256", "text", "point", "label", "reward",
    "operative_reward",
)  # fmt: skip
GROUP = 100_000  # rows of a row group without images
IMAGE_GROUP = 500
WORDS = {"none": "none of these", "skip": "skipped", "timeout": "timed out", "tie": "both as good"}


def neutral(text: str) -> str:
    """The text as a cell that every spreadsheet shows as it is.

    Texts that begin with apostrophes and go on like a formula get one more, so that `original` undoes all of them.
    """
    return f"'{text}" if text.lstrip("'")[:1] in STARTS and text.strip("'") else text


def original(cell: str) -> str:
    """The text that `neutral` made the cell from."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in STARTS and cell.strip("'") else cell


def neutral_column(values: Sequence) -> list:
    """A column of cells; what isn't text stays as it is."""
    return [
        neutral(value) if isinstance(value, str) and (value[:1] == "'" or value[:1] in STARTS) else value
        for value in values
    ]


def write_rows(file: TextIO, rows: Iterable[Sequence]) -> int:
    """Writes rows of neutral cells as CSV; returns how many."""
    plain, quoting, n = csv.writer(file), csv.writer(file, quoting=csv.QUOTE_NONNUMERIC), 0
    for row in rows:
        splits = any(isinstance(value, str) and (";" in value or "\t" in value) for value in row)
        (quoting if splits else plain).writerow(row)
        n += 1
    return n


def write_batches(file: TextIO, source: Source) -> int:
    """Writes the long table as CSV without a head; returns the number of rows."""
    texts = {column.name for column in source.columns if column.kind in ("text", "json")}
    n = 0
    for batch in source.batches():
        cells = [neutral_column(values) if name in texts else values for name, values in batch.items()]
        n += write_rows(file, zip(*cells, strict=True))
    return n


def arrow_schema(fields: Sequence[Field]) -> "pa.Schema":
    """The Arrow schema of a table; its metadata describes the columns to Hugging Face's datasets."""
    import pyarrow as pa

    types = {
        "integer": (pa.int64(), "int64"),
        "number": (pa.float64(), "float64"),
        "boolean": (pa.int8(), "int8"),
        "text": (pa.string(), "string"),
        "json": (pa.string(), "string"),
        "image": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), ""),
        "bytes": (pa.binary(), "binary"),
    }
    columns, features = [], {}
    for column in fields:
        arrow, dtype = types[column.kind]
        feature = {"_type": "Image"} if column.kind == "image" else {"dtype": dtype, "_type": "Value"}
        features[column.name] = {"feature": feature, "_type": "List"} if column.many else feature
        columns.append(pa.field(column.name, pa.list_(arrow) if column.many else arrow))
    return pa.schema(columns).with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_table(path: Path, fields: Sequence[Field], batches: Iterator[Mapping[str, Sequence[Any]]]) -> int:
    """Writes a Parquet file in row groups, with no more in memory than one of them; returns the number of rows.

    Images are cells as `image_cells` gives them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(fields)
    size = IMAGE_GROUP if any(column.kind == "image" for column in fields) else GROUP
    n, waiting = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            arrays = [pa.array(batch[column.name], column.type) for column in schema]
            waiting.append(pa.table(arrays, schema=schema))
            if sum(map(len, waiting)) >= size:
                n += _write_group(writer, waiting)
        n += _write_group(writer, waiting)
    return n


def _write_group(writer: Any, waiting: list) -> int:
    """Writes the waiting tables as one row group and clears the list; returns the number of rows."""
    import pyarrow as pa

    if not waiting:
        return 0
    table = pa.concat_tables(waiting)
    waiting.clear()
    writer.write_table(table, row_group_size=len(table))
    return len(table)


def write_records(path: Path, fields: Sequence[Field], rows: Iterator[tuple]) -> int:
    """Writes a Parquet file from rows, each with a cell per field; returns the number of rows."""
    names = [column.name for column in fields]
    chunks = iter(lambda: list(islice(rows, IMAGE_GROUP)), [])
    return write_table(path, fields, (dict(zip(names, zip(*chunk, strict=True), strict=True)) for chunk in chunks))


def image_cells(source: Source, answer: Answer) -> list[dict[str, bytes | str] | None]:
    """The image at each position as datasets keeps it in a column; None where there is no image."""
    cells = []
    for item in answer.items:
        sha256 = item["image_sha256"]
        png = source.store.image(sha256) if sha256 else None
        cells.append({"bytes": png, "path": f"{sha256}.png"} if png else None)
    return cells


def write_long_csv(source: Source, path: Path) -> Written:
    """Writes the long table as CSV with a head, UTF-8, an empty cell for what is missing."""
    with path.open("w", newline="", encoding="utf-8") as file:
        write_rows(file, [[column.name for column in source.columns]])
        n = write_batches(file, source)
    return Written(n, fields_of(source.columns))


def write_long_parquet(source: Source, path: Path) -> Written:
    """Writes the long table as Parquet; what is missing is null."""
    fields = fields_of(source.columns)
    return Written(write_table(path, fields, source.batches()), fields)


def fields_of(columns: Sequence[Column]) -> tuple[Field, ...]:
    """Columns of the long table as fields."""
    return tuple(Field(column.name, column.kind, column.about) for column in columns)


def write_wide_csv(source: Source, path: Path) -> Written:
    """Writes CSV with the columns of an answer, `picked` (a position), and `<column>_<position>` for each position."""
    columns = {column.name: column for column in source.columns}
    with source.store.read(), path.open("w", newline="", encoding="utf-8") as file:
        fields = (
            *fields_of([column for column in source.columns if column.of_answer]),
            Field("picked", "integer", "the position that was picked; empty where nothing was"),
            Field("worst", "integer", "the position that was picked as the worst; empty where none was"),
            *(
                Field(f"{name}_{position}", columns[name].kind, f"{columns[name].about}, at position {position}")
                for position in range(source.largest_slate())
                for name in ITEM_COLUMNS
            ),
        )
        write_rows(file, [[column.name for column in fields]])
        n = write_rows(file, (neutral_column(wide_row(answer, fields)) for answer in source.answers()))
    return Written(n, fields)


def wide_row(answer: Answer, fields: Sequence[Field]) -> list[Any]:
    """The cells of an answer in the wide table; None where its slate is smaller than the largest."""
    places = {"picked": answer.picked, "worst": answer.worst}
    cells = answer.values | {name: None if item is None else item["position"] for name, item in places.items()}
    for item in answer.items:
        cells |= {f"{name}_{item['position']}": item[name] for name in ITEM_COLUMNS}
    return [cells.get(column.name) for column in fields]


def write_hf(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each answer; columns of positions are lists in display order."""
    shared = [column for column in source.columns if column.of_answer]
    indices = ("position", "picked", "worst")
    items = [column for column in source.columns if not column.of_answer and column.name not in indices]
    fields = (
        Field("images", "image", "what was shown, in display order; null where no image was kept", many=True),
        Field("picked", "integer", "index of the picked one in the lists; null where nothing was picked"),
        Field("worst", "integer", "index of the one picked as the worst; null where none was"),
        *fields_of(shared),
        *(Field(column.name, column.kind, f"{column.about}; a list, in display order", many=True) for column in items),
    )
    rows = (
        (
            image_cells(source, answer),
            *(None if item is None else answer.items.index(item) for item in (answer.picked, answer.worst)),
            *(answer.values[column.name] for column in shared),
            *([item[column.name] for item in answer.items] for column in items),
        )
        for answer in source.answers()
    )
    return Written(write_records(path, fields, rows), fields)


@dataclass
class Comparisons:
    """The picks of a study that compare something, one by one.

    Attributes:
        source: the study's.
        left_out: answers that compare nothing, by reason; complete once `picks` is through.
    """

    source: Source
    left_out: Counter[str] = field(default_factory=Counter)

    def picks(self, ties: bool = False) -> Iterator[tuple[Answer, dict[str, Any], list[dict[str, Any]]]]:
        """(answer, winner, losers in display order) of every pick from at least two samples.

        With `ties` also of these, in display order; `answer.picked` is None then.
        """
        for answer in self.source.answers():
            winner = answer.picked
            if ties and answer.values["outcome"] == "tie":
                winner = answer.items[0]
            if answer.values["undone"]:
                self.left_out["taken back by the rater"] += 1
            elif winner is None:
                self.left_out[WORDS[answer.values["outcome"]]] += 1
            elif len(answer.items) < 2:
                self.left_out["picked from infinitely many, or from one alone"] += 1
            else:
                yield answer, winner, [item for item in answer.items if item is not winner]

    def pictured(
        self, ties: bool = False
    ) -> Iterator[tuple[Answer, dict[str, Any], list[dict[str, Any]], dict[int, dict | None]]]:
        """The same with the images by position; picks with an image that nobody kept are left out."""
        for answer, winner, losers in self.picks(ties):
            cells = image_cells(self.source, answer)
            if all(cells):
                yield answer, winner, losers, dict(enumerate(cells))
            else:
                self.left_out["an image wasn't kept (points, or simulated users' slates)"] += 1

    def written(self) -> Iterator[tuple[Answer, dict[str, Any], list[dict[str, Any]], dict[int, str]]]:
        """The same with the texts by position, of samples that are texts."""
        for answer, winner, losers in self.picks():
            cells = {item["position"]: item["text"] for item in answer.items}
            if None in cells.values():
                self.left_out["not all samples are texts"] += 1
            else:
                yield answer, winner, losers, cells

    def trains(self, answer: Answer) -> bool:
        """True if the study itself would train on a pick: of a curation slate, not withdrawn or flagged out."""
        values = answer.values
        if values["purpose"] != "curation":
            self.left_out[f"{values['purpose']} slates, which nothing is trained on"] += 1
        elif values["withdrawn"] or values["excluded_by"]:
            self.left_out["withdrawn, or kept out of training by a flag"] += 1
        else:
            return True
        return False


def pairs(
    answer: Answer, winner: dict[str, Any], losers: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(better, worse) pairs of a pick: the best over all others, and all others over the worst where one was picked."""
    yield from ((winner, loser) for loser in losers)
    if answer.worst is not None:
        yield from ((other, answer.worst) for other in losers if other is not answer.worst)


class Items:
    """The samples of a study's answers, numbered from 0; 8 bytes each."""

    def __init__(self, source: Source):
        self._ids = np.fromiter((row[0] for row in source.samples()), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def number(self, sample: dict[str, Any]) -> int:
        """The number of the sample at a position of an answer."""
        return int(np.searchsorted(self._ids, sample["sample_id"]))


def write_choix(source: Source, path: Path) -> Written:
    """Writes one JSON object: n_items, items (what each is), data (the picks) and slate_ids (beside data).

    Worst picks and ties have lists of their own, since top-1 lists hold neither.
    """
    with source.store.read():
        items, comparisons = Items(source), Comparisons(source)
        n, slates, worst, ties = 0, [], [], []
        with path.open("w", encoding="utf-8") as file:
            file.write(f'{{"n_items": {len(items)},\n"items": [')
            names = ("sample_id", "generation", "label", "image_sha256", "condition")
            for i, row in enumerate(source.samples()):
                file.write((",\n" if i else "\n") + json.dumps(dict(zip(names, row, strict=True))))
            file.write('\n],\n"data": [')
            for answer, winner, losers in comparisons.picks(ties=True):
                slate_id = answer.values["slate_id"]
                if answer.picked is None:
                    ties.append([slate_id, *map(items.number, answer.items)])
                    continue
                if answer.worst is not None:
                    left = [items.number(loser) for loser in losers if loser is not answer.worst]
                    worst.append([slate_id, items.number(answer.worst), left])
                pick = [items.number(winner), [items.number(loser) for loser in losers]]
                file.write((",\n" if n else "\n") + json.dumps(pick))
                slates.append(slate_id)
                n += 1
            lists = {"slate_ids": slates, "worst": worst, "ties": ties}
            file.write("\n]" + "".join(f',\n"{name}": {json.dumps(rows)}' for name, rows in lists.items()) + "\n}\n")
    return Written(n + len(ties), left_out=dict(comparisons.left_out))


def write_hpd(source: Source, path: Path) -> Written:
    """Writes a JSON list with a record for each picked image and each image beside it, in display order."""
    comparisons, n = Comparisons(source), 0
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for answer, winner, losers, _ in comparisons.pictured():
            for better, worse in pairs(answer, winner, losers):
                pair = sorted((better, worse), key=lambda item: item["position"])
                record = {
                    "prompt": answer.values["condition"] or "",
                    "image_path": [f"images/{item['image_sha256']}.png" for item in pair],
                    "human_preference": [int(item is better) for item in pair],
                    "user_hash": answer.values["rater"],
                    "slate_id": answer.values["slate_id"],
                    "choice_id": answer.values["choice_id"],
                }
                file.write((",\n" if n else "\n") + json.dumps(record, ensure_ascii=False))
                n += 1
        file.write("\n]\n")
    return Written(n, left_out=dict(comparisons.left_out))


PICKAPIC_FIELDS = (
    Field("are_different", "boolean", "1: the two images differ"),
    Field("best_image_uid", "text", "hash of the better image; the word tie where both are as good"),
    Field("caption", "text", "the slate's condition; empty where it has none"),
    Field("created_at", "text", "when, UTC"),
    Field("has_label", "boolean", "1: it was judged"),
    Field("image_0_uid", "text", "hash of the image that stood first"),
    Field("image_1_uid", "text", "hash of the other image"),
    Field("jpg_0", "image", "the first image (a PNG, whatever the column is called)"),
    Field("jpg_1", "image", "the other image"),
    Field("label_0", "number", "1 where the first is better, 0.5 where both are as good, else 0"),
    Field("label_1", "number", "1 less that"),
    Field("model_0", "text", "the generation that drew the first"),
    Field("model_1", "text", "the generation that drew the other"),
    Field("ranking_id", "integer", "the answer; rows of one answer are one choice, not several"),
    Field("slate_id", "integer", "the slate"),
    Field("user_id", "text", "pseudonym of who picked"),
)


def write_pickapic(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it, in display order."""
    comparisons = Comparisons(source)
    n = write_records(path, PICKAPIC_FIELDS, pickapic_rows(comparisons))
    return Written(n, PICKAPIC_FIELDS, dict(comparisons.left_out))


def pickapic_rows(comparisons: Comparisons) -> Iterator[tuple]:
    """The cells of `PICKAPIC_FIELDS` for each pair that a pick decides, and for each tie."""
    for answer, winner, losers, images in comparisons.pictured(ties=True):
        values, tied = answer.values, answer.picked is None
        for better, worse in pairs(answer, winner, losers):
            first, second = sorted((better, worse), key=lambda item: item["position"])
            uids = first["image_sha256"], second["image_sha256"]
            label = 0.5 if tied else float(first is better)
            yield (
                int(uids[0] != uids[1]), "tie" if tied else better["image_sha256"], values["condition"] or "",
                values["picked_at"], 1, *uids,
                images[first["position"]], images[second["position"]], label, 1 - label,
                f"generation-{first['sample_generation']}", f"generation-{second['sample_generation']}",
                values["choice_id"], values["slate_id"], values["rater"],
            )  # fmt: skip


def write_preflib(source: Source, path: Path) -> Written:
    """Writes a .toi file; equal orders share a line, so all orders are held in memory."""
    today = datetime.now(UTC).date().isoformat()
    with source.store.read():
        items, comparisons = Items(source), Comparisons(source)
        orders: Counter[str] = Counter()
        for answer, winner, losers in comparisons.picks(ties=True):
            between = [loser for loser in losers if loser is not answer.worst]
            levels = [[winner], between, [answer.worst] if answer.worst is not None else []]
            if answer.picked is None:
                levels = [answer.items]
            orders[",".join(tied_order([items.number(item) + 1 for item in level]) for level in levels if level)] += 1
        head = {
            "FILE NAME": path.name,
            "TITLE": " ".join(source.study.split()),
            "DESCRIPTION": "The picked sample of each slate before the others, which are tied, but for the worst where "
            "one was picked; the rest is unranked.",
            "DATA TYPE": "toi",
            "MODIFICATION TYPE": "original",
            "RELATES TO": "",
            "RELATED FILES": "",
            "PUBLICATION DATE": today,
            "MODIFICATION DATE": today,
            "NUMBER ALTERNATIVES": len(items),
            "NUMBER VOTERS": orders.total(),
            "NUMBER UNIQUE ORDERS": len(orders),
        }
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for name, value in head.items():
                file.write(f"# {name}: {value}\n")
            for number, (sample, generation, _, _, condition) in enumerate(source.samples(), start=1):
                of = f", condition {' '.join(condition.split())}" if condition else ""
                file.write(f"# ALTERNATIVE NAME {number}: sample {sample} of generation {generation}{of}\n")
            for order, n in sorted(orders.items(), key=lambda item: (-item[1], item[0])):
                file.write(f"{n}: {order}\n")
    return Written(orders.total(), left_out=dict(comparisons.left_out))


def tied_order(numbers: Sequence[int]) -> str:
    """Alternatives of one rank as PrefLib writes them."""
    joined = ",".join(map(str, sorted(numbers)))
    return f"{{{joined}}}" if len(numbers) > 1 else joined


TRL_SHARED = (
    Field("choice_id", "integer", "the answer"),
    Field("slate_id", "integer", "the slate; pairs of one slate are one choice, not several"),
    Field("generation", "integer", "the generation that the slate was made for"),
    Field("purpose", "text", "curation, audit, attention or practice"),
    Field("rater", "text", "pseudonym of who picked"),
    Field("rater_kind", "text", "human, sim or proxy"),
    Field("picked_at", "text", "when, UTC"),
)
TRL_FIELDS = (
    Field("prompt", "text", "the slate's condition; empty where it has none"),
    Field("chosen", "image", "what was picked"),
    Field("rejected", "image", "what was shown beside it"),
    Field("chosen_sample_id", "integer", "the picked sample"),
    Field("rejected_sample_id", "integer", "the other sample"),
    *TRL_SHARED,
)


def write_trl(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it; or of texts, as texts."""
    comparisons, texts = Comparisons(source), source.has_texts
    fields = tuple(
        replace(column, kind="text") if texts and column.kind == "image" else column for column in TRL_FIELDS
    )
    n = write_records(path, fields, trl_rows(comparisons, texts))
    return Written(n, fields, dict(comparisons.left_out))


def trl_rows(comparisons: Comparisons, texts: bool) -> Iterator[tuple]:
    """The cells of `TRL_FIELDS` for each picked sample and each sample beside it."""
    for answer, winner, losers, cells in comparisons.written() if texts else comparisons.pictured():
        values = answer.values
        shared = [values[column.name] for column in TRL_SHARED]
        for better, worse in pairs(answer, winner, losers):
            pair = cells[better["position"]], cells[worse["position"]]
            yield (values["condition"] or "", *pair, better["sample_id"], worse["sample_id"], *shared)


DIFFUSION_DPO_FIELDS = (
    Field("jpg_0", "bytes", "the first image's bytes (a PNG, whatever the column is called)"),
    Field("jpg_1", "bytes", "the other image's"),
    Field("label_0", "integer", "1 where the first was picked, else 0"),
    Field("label_1", "integer", "1 where the other was picked, else 0"),
    Field("caption", "text", "the slate's condition; empty where it has none"),
    Field("model_0", "text", "the generation that drew the first"),
    Field("model_1", "text", "the generation that drew the other"),
    Field("choice_id", "integer", "the answer; rows of one answer are one choice, not several"),
    Field("slate_id", "integer", "the slate"),
    Field("rater", "text", "pseudonym of who picked"),
)


def write_diffusion_dpo(source: Source, path: Path) -> Written:
    """Writes a Parquet file with a row for each picked image and each image beside it, in display order."""
    comparisons = Comparisons(source)
    n = write_records(path, DIFFUSION_DPO_FIELDS, diffusion_dpo_rows(comparisons))
    return Written(n, DIFFUSION_DPO_FIELDS, dict(comparisons.left_out))


def diffusion_dpo_rows(comparisons: Comparisons) -> Iterator[tuple]:
    """The cells of `DIFFUSION_DPO_FIELDS` for each picked image and each image beside it."""
    for answer, winner, losers, images in comparisons.pictured():
        if not comparisons.trains(answer):
            continue
        values = answer.values
        for better, worse in pairs(answer, winner, losers):
            pair = sorted((better, worse), key=lambda item: item["position"])
            label = int(pair[0] is better)
            cells = (images[item["position"]] for item in pair)
            yield (
                *((cell or {}).get("bytes") for cell in cells), label, 1 - label, values["condition"] or "",
                *(f"generation-{item['sample_generation']}" for item in pair),
                values["choice_id"], values["slate_id"], values["rater"],
            )  # fmt: skip


IMAGEFOLDER_FIELDS = (
    Field("file_name", "text", "the picked image, beside this file"),
    Field("text", "text", "the slate's condition; empty where it has none"),
    Field("label", "integer", "its class, by the study's classifier; null where there is none"),
    Field("reward", "number", "the study's reward of it; null where there is none"),
    Field("shown_with", "integer", "images in its slate, itself among them"),
    Field("generation", "integer", "the generation that drew it"),
    Field("seed", "integer", "the seed it was drawn from"),
    Field("choice_id", "integer", "the pick; an image that was picked twice is two files"),
    Field("rater", "text", "pseudonym of who picked"),
    Field("rater_kind", "text", "human, sim or proxy"),
)


def write_imagefolder(source: Source, path: Path) -> Written:
    """Writes a PNG for each pick beside a metadata.jsonl that describes them."""
    comparisons, n = Comparisons(source), 0
    with path.open("w", encoding="utf-8") as file:
        for answer, winner, _ in comparisons.picks():
            values, name = answer.values, f"{answer.values['choice_id']:09d}.png"
            png = source.store.image(winner["image_sha256"]) if winner["image_sha256"] else None
            if not comparisons.trains(answer):
                continue
            if png is None:
                comparisons.left_out["the picked image wasn't kept (points)"] += 1
                continue
            (path.parent / name).write_bytes(png)
            row = (
                name, values["condition"] or "", winner["label"], winner["reward"], len(answer.items),
                winner["sample_generation"], winner["sample_seed"], values["choice_id"],
                values["rater"], values["rater_kind"],
            )  # fmt: skip
            named = dict(zip((column.name for column in IMAGEFOLDER_FIELDS), row, strict=True))
            file.write(json.dumps(named, ensure_ascii=False) + "\n")
            n += 1
    return Written(n, IMAGEFOLDER_FIELDS, dict(comparisons.left_out))


LONG_CSV = Format(
    name="long-csv",
    file="choices.csv",
    about="One row per slate and position, for R, spreadsheets, pandas, xlogit and whatever reads CSV.",
    reading='import pandas as pd\n\nlong = pd.read_csv("choices.csv")\n'
    "picks = long[(long.picked == 1) & (long.undone == 0)]",
    write=write_long_csv,
    limits="Text that a spreadsheet would run as a formula has an apostrophe in front. An empty text and a missing one "
    "look alike.",
)
LONG_PARQUET = Format(
    name="long-parquet",
    file="choices.parquet",
    about="One row per slate and position, typed, for pandas, polars, DuckDB, R's arrow and datasets.",
    reading='import pandas as pd\n\nlong = pd.read_parquet("choices.parquet")\n'
    "picks = long[(long.picked == 1) & (long.undone == 0)]",
    write=write_long_parquet,
)
WIDE_CSV = Format(
    name="wide-csv",
    file="answers.csv",
    about="One row per answer with columns for each position, for spreadsheets, Biogeme, Apollo and xlogit.",
    reading='import pandas as pd\n\nwide = pd.read_csv("answers.csv")\n'
    'picks = wide[wide.undone == 0].dropna(subset="picked")',
    write=write_wide_csv,
    limits="Slates smaller than the largest have empty columns. Text that a spreadsheet would run as a formula has an "
    "apostrophe in front.",
)
CHOIX = Format(
    name="choix",
    file="choix.json",
    about="Top-1 lists, one per pick, for choix.",
    reading='import choix, json\n\nlog = json.load(open("choix.json"))\n'
    "label = [item['label'] for item in log['items']]\n"
    "data = [(label[w], [label[i] for i in losers]) for w, losers in log['data']]\n"
    "utilities = choix.opt_top1(max(label) + 1, data, alpha=0.1)",
    write=write_choix,
    limits="An item is a sample, and most samples stand in one slate only, so that their utilities can't be told "
    "apart: replace items by their label or generation, as above, before you fit. Top-1 lists hold neither worst picks "
    "nor ties: these are in worst ([slate_id, worst, [those that stayed]]) and ties ([slate_id, item, item]).",
)
TRL = Format(
    name="trl",
    file="pairs.parquet",
    about="One row per picked image and image beside it, for TRL's preference trainers and other DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="pairs.parquet")["train"]',
    write=write_trl,
    limits="A slate of K images gives K - 1 rows, and K - 2 more of all over the worst where one was picked. They "
    "are not independent: keep those of one slate_id together when you split, and count choices, not rows. Ties are "
    "left out. "
    "The prompt is the slate's condition, empty where it has none.",
)
PICKAPIC = Format(
    name="pickapic",
    file="train.parquet",
    about="One row per picked image and image beside it, with the columns of Pick-a-Pic, for PickScore and "
    "Diffusion-DPO code.",
    reading='from datasets import load_dataset\n\npairs = load_dataset("parquet", data_files="train.parquet")["train"]',
    write=write_pickapic,
    limits="Answers that judged nothing are left out; of ties both labels are 0.5. A worst pick gives K - 2 rows more. "
    "user_id is a text, ranking_id joins the rows of one answer, and the columns jpg_0 and jpg_1 hold PNGs.",
)
DIFFUSION_DPO = Format(
    name="diffusion-dpo",
    file="data/train-00000-of-00001.parquet",
    about="One row per picked image and image beside it, with the columns and the raw bytes that Diffusion-DPO's and "
    "diffusers' DPO training scripts read.",
    reading="import io\n\nfrom datasets import load_dataset\nfrom PIL import Image\n\n"
    'pairs = load_dataset(".")["train"]\n'
    'first = Image.open(io.BytesIO(pairs[0]["jpg_0"])).convert("RGB")',
    write=write_diffusion_dpo,
    limits="Give the folder as --dataset_name. A slate of K images gives K - 1 rows, and K - 2 more where a worst one "
    "was picked, which are one choice: keep those of one slate_id together when you split. Only picks that may train "
    "are in it, and no ties. "
    "The caption is the slate's condition, empty where it has none.",
    folder_only=True,
)
IMAGEFOLDER = Format(
    name="imagefolder",
    file="train/metadata.jsonl",
    about="One PNG per pick with a line of metadata.jsonl, as Hugging Face's imagefolder, for diffusers' training "
    "scripts and whatever trains on a folder of pictures.",
    reading='from datasets import load_dataset\n\npicked = load_dataset("imagefolder", data_dir=".")["train"]\n'
    'picked[0]["image"]',
    write=write_imagefolder,
    limits="Only what was picked and may train is in it, without what it was picked from, and no ties. "
    "Give the folder as --train_data_dir; --caption_column text is "
    "the slate's condition, empty where it has none.",
    folder_only=True,
    own_images=True,
)
HPD = Format(
    name="hpd",
    file="train.json",
    about="One record per picked image and image beside it, as in HPDv2's train.json, for HPSv2's training code.",
    reading='import json\n\npairs = json.load(open("train.json"))',
    write=write_hpd,
    limits="The records of one slate_id (K - 1, and K - 2 more where a worst one was picked) are one choice among K "
    "images. Ties are left out. "
    "The prompt is the slate's condition, empty where it has none.",
    folder_only=True,
)
PREFLIB = Format(
    name="preflib",
    file="picks.toi",
    about="One order per pick, for PrefLib's tools.",
    reading="from preflibtools.instances import OrdinalInstance\n\n"
    'orders = OrdinalInstance("picks.toi").flatten_strict()',
    write=write_preflib,
    limits="A .toi file holds no raters, times, positions or generations of slates. Its voters are picks, not people; "
    "what wasn't picked is tied, which it needn't have been; and most samples stand in one order only.",
)
HF = Format(
    name="hf",
    file="data/train-00000-of-00001.parquet",
    about="One row per answer with its images in display order, for Hugging Face's datasets.",
    reading='from datasets import load_dataset\n\nanswers = load_dataset(".")["train"]\nanswers[0]["images"]',
    write=write_hf,
    folder_only=True,
)
ALL = (LONG_CSV, LONG_PARQUET, WIDE_CSV, CHOIX, TRL, PICKAPIC, DIFFUSION_DPO, IMAGEFOLDER, HPD, PREFLIB, HF)
FORMATS = {format_.name: format_ for format_ in ALL}


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"There is no format '{name}'; choose one of {', '.join(FORMATS)}.")
    return FORMATS[name]

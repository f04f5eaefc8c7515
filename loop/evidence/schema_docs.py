"""The documentation of report.json, written from the models: `python -m loop.evidence.schema_docs` renews the file."""

import inspect
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from loop.evidence import schema

PATH = Path(__file__).parents[2] / "docs" / "report-schema.md"
COMPARISON = "curate-comparison/1"
HEAD = f"""# report.json

`curate report STUDY` writes one JSON object, the **Evidence** below, of schema `{schema.VERSION}`. `curate report A B`
writes `{{"schema_version": "{COMPARISON}", "studies": [Evidence, ...]}}`. In Python,
`loop.evidence.schema.Evidence.model_validate_json(text)` reads it, and
`Evidence.model_json_schema()` is the same as a JSON Schema. Infinity is written `"inf"`; what isn't known is `null`.

Rewards are `r`, and `w = exp(r)`. `E[w]` and `Var[w]` are over a generation's samples. Intervals are plain 95 % ones,
except those of margins and of what is called corrected: all verdicts of a report share 5 % of error (Bonferroni), as
[decision 9](decisions/0009-verdicts-from-people.md) tells.

This file is written from `loop/evidence/schema.py` by `python -m loop.evidence.schema_docs`.
"""


def document() -> str:
    """The whole file."""
    return "\n".join([HEAD, *map(_section, _models())])


def _models() -> list[type[BaseModel]]:
    """Evidence first, then its parts in the order in which they are met."""
    found: list[type[BaseModel]] = []
    waiting: list[type[BaseModel]] = [schema.Evidence]
    while waiting:
        model = waiting.pop(0)
        if model not in found:
            found.append(model)
            waiting += [part for field in model.model_fields.values() for part in _parts(field.annotation)]
    return found


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _section(model: type[BaseModel]) -> str:
    rows = "\n".join(_row(name, field) for name, field in model.model_fields.items())
    return f"## {model.__name__}\n\n{inspect.getdoc(model)}\n\n| field | type | |\n|---|---|---|\n{rows}\n"


def _row(name: str, field: FieldInfo) -> str:
    default = "" if field.default is PydanticUndefined else f" Default: `{json.dumps(field.default)}`."
    cells = (f"`{name}`", f"`{_type(field.annotation)}`", f"{field.description or ''}.{default}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(annotation: Any) -> str:
    """A type as a reader of JSON would write it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(map(_type, arguments))
    if origin is Literal:
        return " | ".join(json.dumps(one) for one in arguments)
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(map(_type, arguments))}]"
    return {NoneType: "null", Any: "any"}.get(annotation) or annotation.__name__


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")

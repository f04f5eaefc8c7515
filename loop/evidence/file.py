"""The evidence of a study in its folder, evidence.json, so that the seconds that it takes are spent once."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import loop
from loop.evidence.schema import Evidence
from loop.evidence.study import build
from loop.study import Study

FILE = "evidence.json"
MADE_BY = ("evidence", "theory")  # of the loop package: whose code the figures follow from


def evidence_of(study: Study, *, leave: bool = True) -> Evidence:
    """What was left in the folder if it is of these generations, picks, settings and code, else built anew.

    Args:
        study: the study.
        leave: what is built is left there.
    """
    state = [_code(), study.store.last_pick(), study.config.as_json()]
    state += [row.checkpoint_sha256 for row in study.store.generations()]
    try:
        found = json.loads((study.path / FILE).read_text(encoding="utf-8"))
        if found["state"] == state:
            return Evidence.model_validate({**found["evidence"], "study": study.path.resolve().name})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # none, or not ours
    evidence = build(study)
    if leave:
        _write(study, {"state": state, "evidence": evidence.model_dump()})
    return evidence


def _write(study: Study, content: dict[str, Any]) -> None:
    draft = study.path / f".{FILE}.{os.getpid()}"
    try:
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(study.path / FILE)
    finally:
        draft.unlink(missing_ok=True)


@cache
def _code() -> str:
    """A hash of the code that makes the evidence."""
    root = Path(loop.__file__).parent
    files = sorted(file for part in MADE_BY for file in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

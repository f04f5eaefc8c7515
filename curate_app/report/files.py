"""Makes reports: evidence, self-checks and pictures are read from the studies, then the files appear whole."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from curate_app.plots.way import study_way
from curate_app.report.pages import comparison_json, comparison_page, own_version, page
from curate_app.report.pictures import Gallery, gather
from curate_app.report.tables import taste_evidence
from loop.analysis.drift import coevolution, study_drift
from loop.analysis.report import study_groups, type_evidence
from loop.analysis.taste import read_tastes
from loop.evidence.schema import CheckResult, Evidence, ProxyEvidence
from loop.evidence.study import evidence_of
from loop.evidence.study import read as read_history
from loop.registration import stored as stored_registration
from loop.selfcheck import Check, self_checks
from loop.study import OnShare, Study

MARK = '<meta name="generator" content="curate'  # by which a report is known
PICTURE = "Software\0curate"  # and its picture
MOST_TASTES = 6  # raters, where they are too few to be put together
LIBRARIES = ("numpy", "scipy", "torch")


@dataclass(frozen=True, slots=True)
class Material:
    """All that the report of one study is made of."""

    evidence: Evidence
    gallery: Gallery
    way: bytes | None


def read(study: Study, *, compared: bool = False, on_share: OnShare = lambda share: None) -> Material:
    """The evidence of a study with its self-checks, and its pictures; everything of the same moment.

    Args:
        study: the study.
        compared: it stands beside others, without raters' tastes and the way so far.
        on_share: called with the share done.
    """
    with study.store.read():
        checks = self_checks(study.store, study.config, lambda share: on_share(0.4 * share))
        checks = [as_result(check) for check in checks]
        tastes = [] if compared else read_tastes(study.store, study.config, most=MOST_TASTES)[0]
        evidence = evidence_of(study, leave=False, on_share=lambda share: on_share(0.4 + 0.5 * share))
        on_share(0.9)
        missing = len(study.store.generations()) - len(evidence.generations)
        more = {
            "checks": checks,
            "tastes": [taste_evidence(some) for some in tastes],
            "drift": [] if compared else study_drift(study.store, study.config),
            "coevolution": coevolution(study.config, study.store.generations(), evidence.generations),
            "user_types": [] if compared else type_evidence(read_history(study.store, study.config)),
            "taste_groups": None if compared else study_groups(study.store, study.config),
            "registration": stored_registration(study),
            "proxy": proxy_of(study),
            "unmeasured": missing,
            "software": software(),
        }
        evidence = evidence.model_copy(update=more)
        way = None if compared or evidence.sources else study_way(study)
        return Material(evidence, gather(study.store, evidence), way)


def proxy_of(study: Study) -> ProxyEvidence | None:
    """The proxy held against people's later picks; None, and torch isn't loaded, where no proxy ever picked."""
    if not any(row.measurements.proxy.sha256 for row in study.store.generations()):
        return None
    from loop.learners import study_proxy  # loads torch

    return study_proxy(study)


def write_report(study: Study, html: Path, on_share: OnShare = lambda share: None) -> Evidence:
    """Writes one study's report, beside it the same as JSON, and the way so far as a picture.

    `on_share` is that of `read`.
    """
    material = read(study, on_share=on_share)
    text, json_text = (
        page(material.evidence, material.gallery, material.way),
        material.evidence.model_dump_json(indent=1),
    )
    replace_files(html, text, json_text, material.way)
    return material.evidence


def write_comparison(
    studies: Sequence[Study],
    html: Path,
    *,
    title: str,
    figures: Sequence[tuple[str, str, bytes | Markup]] = (),
    controls: Sequence[tuple[list[str], dict[str, Any]]] = (),
    on_share: OnShare = lambda share: None,
) -> list[Evidence]:
    """Writes one page that compares studies, and beside it their evidence as JSON.

    Args:
        studies: two or more, in the order of their colours.
        html: the page; the JSON has its name with .json.
        title: of the page.
        figures: to stand on top: heading, caption, and a PNG or markup that is known to be safe.
        controls: combinations of a sweep beside their controls, as cells of a table and in plain values.
        on_share: called with the share done.
    """
    materials = []
    for done, study in enumerate(studies):
        materials.append(
            read(study, compared=True, on_share=lambda share, done=done: on_share((done + share) / len(studies)))
        )
    evidences, galleries = [some.evidence for some in materials], [some.gallery for some in materials]
    names = distinct([study.path for study in studies])
    rows, values = [cells for cells, _ in controls], [plain for _, plain in controls]
    text = comparison_page(evidences, galleries, names, title=title, figures=figures, controls=rows)
    replace_files(html, text, comparison_json(evidences, values))
    return evidences


def distinct(paths: Sequence[Path]) -> list[str]:
    """Names of studies: their folder's name, or as much of the path as tells them apart."""
    resolved = [path.resolve() for path in paths]
    for parts in range(1, max((len(path.parts) for path in resolved), default=1) + 1):
        names = ["/".join(path.parts[-parts:]) for path in resolved]
        if len(set(names)) == len(set(resolved)):
            return names
    return [str(path) for path in resolved]


def check_replaceable(*paths: Path) -> None:
    """Refuses to replace a file that no report wrote.

    Raises:
        ValueError: there is such a file, or no folder to write to.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise ValueError(f"There is no folder {path.parent}; make it first.")
        if path.is_dir():
            raise ValueError(f"{path} is a folder; name a file, or the folder that {path.name} shall stand in.")
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            start = file.read(4096)
        if MARK not in start and PICTURE not in start and '"schema_version":' not in start[:200]:
            raise ValueError(f"{path} is there already and isn't a report; choose another name or use --force.")


def as_result(check: Check) -> CheckResult:
    """A self-check as the report keeps it; of its figures the plain numbers."""
    plain = check.as_json()
    figures = {key: float(value) for key, value in plain["figures"].items() if isinstance(value, int | float)}
    return CheckResult(**{**plain, "figures": figures})


def software() -> dict[str, str]:
    """Versions of what matters for the figures, without importing any of it."""
    return {"curate": own_version(), "python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def replace_files(html: Path, text: str, json_text: str, png: bytes | None = None) -> None:
    """Writes the page, and beside it the JSON and a picture; a reader sees the whole of the old file or of the new one.

    Args:
        html: the page; the others have its name with .json and .png.
        text: of the page.
        json_text: of the JSON.
        png: the picture, where there is one.
    """
    contents = {html.with_suffix(".json"): json_text.encode(), html: text.encode()}
    if png is not None:
        contents = {html.with_suffix(".png"): png, **contents}
    for path, content in contents.items():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

"""`curate report`: what the verb does, and what it prints. Everything heavy is imported when it is called."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loop.evidence.schema import ClaimVerdict, Evidence
    from loop.study import Study

ODD_SHOWN = 6  # self-checks told one by one
STYLES = {"holds": "green", "not refuted": "cyan", "fails": "bold red", "can't tell": "yellow", "not applicable": "dim"}


def report(
    studies: Annotated[list[Path], typer.Argument(help="A study's folder, or several to compare.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder, or the .html file. Left out: in the study, or here for several; none with --json."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that no report wrote.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Report on a study, or compare several: report.html, one file that works offline and prints, and report.json.

    Example: `curate report my-study`

    Example: `curate report pure mixed --out comparison.html`
    """
    from loop.study import Study

    opened = [Study.open(path) for path in studies]
    html = None if json_ and out is None else _target(studies, out, force)
    evidences = _make(opened, html)
    if json_:
        _print_json(evidences)
    else:
        for evidence in evidences:
            _print_summary(evidence)
        _print_places(html)


def _target(studies: Sequence[Path], out: Path | None, force: bool) -> Path:
    """The HTML file to write.

    Raises:
        ValueError: a file that isn't a report stands there, or there is no such folder.
    """
    from curate_app.report.files import check_replaceable

    if out is not None and out.suffix.lower() in (".html", ".htm"):
        html = out
    else:
        folder = out or (studies[0] if len(studies) == 1 else Path())
        if out is not None and not out.is_dir():
            raise ValueError(f"There is no folder {out}; make it first, or name a file that ends with .html.")
        html = folder / "report.html"
    if not force:
        check_replaceable(html, html.with_suffix(".json"))
    return html


def _make(studies: Sequence["Study"], html: Path | None) -> list["Evidence"]:
    from curate_app.console import err
    from curate_app.report.files import read, write_comparison, write_report

    names = [study.path.name for study in studies]
    with err.status("") as shown:

        def tell(done: int) -> None:
            shown.update(f"reading {names[done]} ({done + 1} of {len(names)})")

        tell(0)
        if html is None:
            return [read(study).evidence for study in studies]
        if len(studies) == 1:
            return [write_report(studies[0], html)]
        return write_comparison(studies, html, title=", ".join(names), report=tell)


def _print_json(evidences: Sequence["Evidence"]) -> None:
    from curate_app.report.pages import comparison_json

    one = evidences[0].model_dump_json(indent=1)
    typer.echo(one if len(evidences) == 1 else comparison_json(evidences))


def _print_summary(evidence: "Evidence") -> None:
    from rich.markup import escape
    from rich.table import Table

    from curate_app.console import out
    from curate_app.report.pages import lede
    from curate_app.report.tables import by_claim, odd_checks, word_of

    out.print(f"[bold]{escape(evidence.study)}[/bold]  {escape(' '.join(lede(evidence)))}", highlight=False)
    odd = odd_checks(evidence.checks)
    for check in odd[:ODD_SHOWN]:
        out.print(f"[bold red]Self-check {check.verdict}[/bold red]: {escape(check.sentence)}", highlight=False)
    if len(odd) > ODD_SHOWN:
        out.print(f"... and {len(odd) - ODD_SHOWN} more; see curate check.")
    if len(evidence.generations) < 2:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=24)
    table.add_column()
    idle: dict[str, list[str]] = {}
    for name, verdicts in by_claim(evidence.claims).items():
        word = word_of(verdicts)
        if word == "not applicable":
            idle.setdefault(verdicts[0].reason, []).append(name)
        else:
            table.add_row(f"[{STYLES[word]}]{word}[/]", name, escape(_told(verdicts)))
    for reason, names in idle.items():
        table.add_row("[dim]not applicable[/]", ", ".join(names), escape(reason))
    out.print(table, highlight=False)


def _told(verdicts: Sequence["ClaimVerdict"]) -> str:
    """A claim's statement, and at how many generations it was found so."""
    from curate_app.report.tables import how_often, word_of

    word, statement = word_of(verdicts), verdicts[0].statement
    often = how_often(verdicts, word)
    return f"{statement}: {often}" if often else statement


def _print_places(html: Path | None) -> None:
    from curate_app.console import out

    if html is not None:
        out.print(f"Wrote {html} and {html.with_suffix('.json')}.", markup=False, highlight=False, soft_wrap=True)

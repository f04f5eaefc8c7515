"""`curate report`: writes reports, and prints their verdicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from curate_app.commands.options import Json
from curate_app.console import bar_if_slow
from curate_app.console import out as console
from curate_app.report.files import check_replaceable, read, write_comparison, write_report
from curate_app.report.pages import comparison_json, lede, registered_sentence
from curate_app.report.tables import audit_pairs, by_claim, how_often, odd_checks, ranks, word_of
from loop.evidence.retraining import retraining_claims, sentences
from loop.evidence.schema import Evidence
from loop.study import OnShare, Study
from loop.sweep.results import variance_splits

MOST_CHECKS = 6  # self-checks printed; the others are counted
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
    json_: Json = False,
) -> None:
    """Report on a study, or compare several: report.html, one file that works offline and prints, and report.json.

    Of one study also report.png, the way so far as a picture to share.

    Example: `curate report my-study`

    Example: `curate report pure mixed --out comparison.html`
    """
    opened = [Study.open(path) for path in studies]
    html = None if json_ and out is None else choose_html(studies, out, force)
    title = f"reading {opened[0].path.name}" if len(opened) == 1 else f"reading {len(opened)} studies"
    with bar_if_slow(title, quiet=json_) as on_share:
        evidences = write_reports(opened, html, on_share)
    if json_:
        single = evidences[0].model_dump_json(indent=1)
        typer.echo(single if len(evidences) == 1 else comparison_json(evidences))
        return
    for evidence in evidences:
        print_summary(evidence)
    for line in sentences(retraining_claims(evidences)):
        console.print(f"Retraining without choice, {line}", highlight=False, markup=False)
    for split in variance_splits(evidences):
        console.print(split.sentence, highlight=False, markup=False)
    if html is not None:
        picture = html.with_suffix(".png")
        more = f", {picture}" if len(opened) == 1 and picture.is_file() else ""
        console.print(
            f"Wrote {html}{more} and {html.with_suffix('.json')}.", markup=False, highlight=False, soft_wrap=True
        )


def choose_html(studies: Sequence[Path], out: Path | None, force: bool) -> Path:
    """The HTML file to write.

    Raises:
        ValueError: a file that isn't a report is there, or there is no such folder.
    """
    if out is not None and out.suffix.lower() in (".html", ".htm"):
        html = out
    else:
        folder = out or (studies[0] if len(studies) == 1 else Path())
        if out is not None and not out.is_dir():
            raise ValueError(f"There is no folder {out}; make it first, or name a file that ends with .html.")
        html = folder / "report.html"
    if not force:
        pictures = [html.with_suffix(".png")] if len(studies) == 1 else []
        check_replaceable(html, html.with_suffix(".json"), *pictures)
    return html


def write_reports(studies: Sequence[Study], html: Path | None, on_share: OnShare) -> list[Evidence]:
    """The evidence of each study; written to `html` and the .json beside it, unless that is None."""
    if html is None:
        return [read(study, on_share=lambda share, i=i: on_share((i + share) / len(studies))).evidence
                for i, study in enumerate(studies)]  # fmt: skip
    if len(studies) == 1:
        return [write_report(studies[0], html, on_share)]
    return write_comparison(studies, html, title=", ".join(study.path.name for study in studies), on_share=on_share)


def print_summary(evidence: Evidence) -> None:
    """Prints a study's first sentences, the self-checks that didn't pass, and a verdict for each claim."""
    console.print(f"[bold]{escape(evidence.study)}[/bold]  {escape(' '.join(lede(evidence)))}", highlight=False)
    console.print(registered_sentence(evidence), highlight=False, markup=False)
    for departure in evidence.registration.departures if evidence.registration else ():
        console.print(
            f"[bold red]Departure[/bold red], {departure.kind}: {escape(departure.sentence)}", highlight=False
        )
    odd = odd_checks(evidence.checks)
    for check in odd[:MOST_CHECKS]:
        console.print(f"[bold red]Self-check {check.verdict}[/bold red]: {escape(check.sentence)}", highlight=False)
    if len(odd) > MOST_CHECKS:
        console.print(f"... and {len(odd) - MOST_CHECKS} more; run `curate check` to see them all.")
    if evidence.sources:
        print_audit(evidence)
    if len(evidence.generations) < 2:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=24)
    table.add_column()
    not_applicable: dict[str, list[str]] = {}
    for name, verdicts in by_claim(evidence.claims).items():
        word = word_of(verdicts)
        if word == "not applicable":
            not_applicable.setdefault(verdicts[0].reason, []).append(name)
            continue
        often = how_often(verdicts, word)
        statement = verdicts[0].statement + (f": {often}" if often else "")
        table.add_row(f"[{STYLES[word]}]{word}[/]", name, escape(statement))
    for reason, names in not_applicable.items():
        table.add_row("[dim]not applicable[/]", ", ".join(names), escape(reason))
    console.print(table, highlight=False)
    if evidence.theorem_3:
        console.print(evidence.theorem_3.sentence, highlight=False, markup=False)
    for sentence in evidence.distribution.sentences if evidence.distribution else ():
        console.print(sentence, highlight=False, markup=False)


def print_audit(evidence: Evidence) -> None:
    """Prints the ranking of an audit of several studies, and the win rate of each pair."""
    ranking = Table(
        "study", "mean win rate", "preferred to", "less than", "best of all", box=None, padding=(0, 2, 0, 0)
    )
    for _, *cells, best in ranks(evidence):
        ranking.add_row(*map(escape, cells), f"[{STYLES[best]}]{best}[/]")
    console.print(ranking, highlight=False)
    if not evidence.win_rates:
        return
    heads = ("study", "against", "comparisons", "win rate (95%)", "verdict's interval", "above 1/2")
    pairs = Table(*heads, box=None, padding=(0, 2, 0, 0))
    for *cells, verdict, _ in audit_pairs(evidence):
        pairs.add_row(*map(escape, cells), f"[{STYLES[verdict]}]{verdict}[/]")
    console.print(pairs, highlight=False)

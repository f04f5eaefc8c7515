"""The documents are true: links lead somewhere, every page is in the index, commands parse, code in them runs."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from curate_app.cli import Verb, app
from data.choice_log import Source
from data.choice_log.export import export
from data.records import Pick
from data.store import Store
from loop.study import configure

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
VERBS = typer.main.get_command(app)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links(page: Path) -> set[str]:
    """Where a page's links lead, less those to other sites."""
    return {link for link in LINK.findall(FENCE.sub("", page.read_text())) if not link.startswith(("http", "mailto:"))}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of every `curate` command that stands in a block of code."""
    text = page.read_text()
    blocks = [code for _, code in FENCE.findall(text)] + re.findall(r"^ {4,}\S.*$", FENCE.sub("", text), re.M)
    for line in "\n".join(blocks).splitlines():
        words = shlex.split(line, comments=True) if re.match(r"\s*(\w+=\S+ )?curate ", line) else []
        for part in " ".join(map(shlex.quote, words)).split(" '&&' "):
            arguments = shlex.split(part)
            if "curate" in arguments[:2]:
                yield arguments[arguments.index("curate") + 1 :]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """A verb's arguments as it parses them, without running it; a wrong one is an error."""
    command: Any = VERBS
    while hasattr(command, "commands"):
        command, arguments = command.commands[arguments[0]], arguments[1:]
        command = command.load() if isinstance(command, Verb) else command
    return command.make_context(command.name, list(arguments)).params


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_the_index_links_every_document():
    linked = {(ROOT / "docs" / link).resolve() for link in links(ROOT / "docs" / "README.md")}
    assert not {name_of(page) for page in DOCS if page not in linked} - {"docs/README.md"}


def test_the_readme_links_the_index_and_each_how_to():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert {page for page in DOCS if page.name.startswith("howto-") or page.name == "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_those_that_there_are(page: Path):
    for arguments in commands(page):
        found = parsed(arguments)
        if found.get("preset"):
            configure(found["preset"], found.get("setting") or ())


def test_a_wrong_command_is_noticed(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n    FOO=1 curate new s --preset digits && curate report s --wrong  # why\n")
    right, wrong = commands(page)
    assert parsed(right)["preset"] == "digits"
    with pytest.raises(Exception, match="--wrong"):
        parsed(wrong)


def test_there_are_commands_to_check():
    assert sum(1 for page in PAGES for _ in commands(page)) > 50


def test_the_export_format_of_the_contributors_page_works(store: Store, fill: Callable[..., list[int]], tmp_path: Path):
    (code,) = [
        code for kind, code in FENCE.findall((ROOT / "docs/howto-contributor.md").read_text()) if kind == "python"
    ]
    module: dict[str, Any] = {}
    exec(compile(code, "howto-contributor.md", "exec"), module)
    slate = store.lease("ann", ("curation",), 0, 60)
    assert slate is not None
    store.record_pick("ann", Pick(slate.id, "pick", 1))
    written = export(Source(store, "s", "salt"), module["JSONL"], tmp_path / "answers.jsonl")
    (line,) = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert written.rows == 1 and line["slate_id"] == slate.id
    assert line["picked"] == line["shown"][1] and len(line["shown"]) == slate.k


def test_the_architecture_names_every_module_once():
    text = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", text, re.M)
    there = [
        str(path.relative_to(ROOT))
        for package in ("data", "model", "loop", "curate_app")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    ]
    assert sorted(listed) == sorted(there)
    named = set(re.findall(r"`((?:data|model|loop|curate_app|tests|benchmarks)/[\w/]+\.\w+)`", text))
    assert not [name for name in named if not (ROOT / name).exists()]

"""What tests of an HTML document see: that it is well formed, needs no other file, and can be read aloud."""

import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "img", "br", "input", "hr", "source"}


class Document(HTMLParser):
    """The elements of a document; a tag that isn't closed where it should be is an error."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open[-3:]}"
        self.open.pop()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def is_alone(html: str) -> Document:
    """Parses a document, and sees that it needs no other file and no script."""
    found = Document(html)
    assert not found.all("script") and "@import" not in html and "url(" not in html
    for tag, attributes in found.found:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(key) or ""
            assert value.startswith(("data:", "#")) or not value, f"<{tag} {key}={value[:60]}>"
        assert not any(key.startswith("on") for key in attributes)
    assert not re.search(r"https?://|(?<!:)//[a-z]+\.", re.sub(r'"data:[^"]*"', "", html))
    return found


def reads_aloud(found: Document) -> None:
    """The basics of accessibility: language, one h1, no level left out, texts for pictures, captions and scopes."""
    assert found.all("html")[0]["lang"] == "en" and len(found.all("title")) == 1
    levels = [int(tag[1]) for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(image.get("alt") for image in found.all("img"))
    assert all(
        svg.get("aria-hidden") or (svg.get("role") == "img" and svg.get("aria-label")) for svg in found.all("svg")
    )
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(head.get("scope") for head in found.all("th"))
    ids = [attributes["id"] for _, attributes in found.found if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [link["href"][1:] for link in found.all("a") if (link.get("href") or "").startswith("#")]
    targets += [label for _, attributes in found.found if (label := attributes.get("aria-labelledby"))]
    assert set(targets) <= set(ids)

"""The rater's page in every language: the same keys and holes, and none that nothing uses."""

import json
import re
from pathlib import Path

import pytest

from curate_app.assets import HERE, STATIC
from curate_app.rater.page import FILES, languages
from data.flowers import FACTORS, HUES
from loop.config import AppConfig

TEXTS = languages()
DESIGNS = {language: texts.pop("words") for language, texts in TEXTS.items()}
ENGLISH = TEXTS["en"]
OTHERS = sorted(set(TEXTS) - {"en"})


def test_french_is_there():
    assert OTHERS == ["fr"]


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_the_keys_and_holes_of_english(language: str):
    words = TEXTS[language]
    assert list(words) == list(ENGLISH)

    def holes(text: str) -> list[str]:
        return sorted(set(re.findall(r"\{\w*\}", text)))

    assert {key: holes(text) for key, text in words.items()} == {key: holes(text) for key, text in ENGLISH.items()}
    assert [key for key, text in words.items() if key != "dir" and not text.strip()] == []


@pytest.mark.parametrize("language", TEXTS)
def test_one_of_a_thing_has_a_sentence_of_its_own(language: str):
    words = TEXTS[language]
    plural = {key for key in words if key.endswith("_n")}
    assert len(plural) > 8 and {f"{key[:-1]}1" for key in plural} <= set(words)
    assert not [key for key in plural if words[key] == words[f"{key[:-1]}1"]]


def test_a_language_file_has_nothing_but_the_raters_page_and_words_for_designs():
    assert list(json.loads((STATIC / "strings.fr.json").read_text(encoding="utf-8"))) == ["dir", "rater", "words"]


@pytest.mark.parametrize("language", OTHERS)
def test_all_that_flowers_are_called_has_words_in_each_language(language: str):
    lines = [words for factor in FACTORS if not factor.circle for words in (factor.fewer, factor.further)]
    hues = {hue: {hue, f"{hue} centres"} for hue in HUES.split()}
    named = {factor.name for factor in FACTORS if factor.circle}
    assert set(DESIGNS[language]) == {*lines, *named}.union(*hues.values()) and DESIGNS["en"] == {}


def test_every_text_is_used_and_every_used_one_is_there():
    pages = [HERE / "templates" / name for name in ("rater.html", "unknown.html")]
    pages.append(HERE / "plots" / "way.py")  # the picture to share is in the page's language
    read = [*(STATIC / name for name in FILES if name.endswith(".js")), *pages]
    source = "\n".join(Path(file).read_text(encoding="utf-8") for file in read)
    # Made of a state, a phase, a status or a count; the others stand in full.
    composed = re.compile(r"\w+_(title|more|0|1|n|\d{3})|curating|training|publishing")
    quoted = {*re.findall(r'"([\w-]+)"', source), *re.findall(r"text\.(\w+)", source)}
    assert [key for key in ENGLISH if key != "dir" and key not in quoted and not composed.fullmatch(key)] == []
    used = {*re.findall(r'say\("(\w+)"', source), *re.findall(r'data-(?:text|label)="(\w+)"', source)}
    assert sorted(used - set(ENGLISH)) == []


def test_the_usual_title_is_the_englishs():
    assert ENGLISH["question"] == AppConfig().title


def test_every_module_of_the_page_is_fetched_with_it():
    imported = {name for file in FILES for name in re.findall(r'from "\./(\w+\.js)"', (STATIC / file).read_text())}
    assert imported | {"rater.js"} == {file for file in FILES if file.endswith(".js")}

"""Text: where it comes from, which part is held out, and that tokens and text are each other's."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import text
from data.downloads import DownloadError, pin_path
from data.text import BytePairs, Characters, Corpus, Vocabulary, load_corpus, vocabulary_from, windows

CHECKSUMS = text.SHA256
SHAKESPEARE = "First Citizen:\nBefore we proceed any further, hear me speak.\n" * 20


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The bodies of a local server, by path, at which the published corpora are looked for."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object, **__: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        at = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setattr(text, "PUBLISHED", {"tiny-shakespeare": f"{at}/input.txt", "tinystories": f"{at}/train"})
        monkeypatch.setattr(text, "SHA256", {})
        monkeypatch.setattr(text, "PUBLISHED_HELD_OUT", {"tinystories": f"{at}/valid"})
        yield bodies
        http.shutdown()


def test_python_has_english_to_learn_without_a_download():
    corpus = load_corpus()
    assert len(corpus.train) + len(corpus.held_out) > 300_000
    assert len(corpus.held_out) / len(corpus.train) == pytest.approx(1 / 9, rel=1e-3)
    assert "statement" in corpus.train and "statement" in corpus.held_out
    assert load_corpus() == corpus
    assert load_corpus(characters=1_000).train == corpus.train[:900]


def test_the_end_of_a_file_is_held_out(tmp_path: Path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + ("é" * 45 + "\r\n" + "x" * 4).encode())
    corpus = load_corpus(str(path))
    assert (corpus.train, corpus.held_out) == ("é" * 45, "\nxxxx")  # neither the mark of the encoding nor a CR
    assert load_corpus(str(path), characters=20) == Corpus(str(path), "é" * 18, "é" * 2)


@pytest.mark.parametrize(
    ("body", "message"), [(b"\xff\xfe\x00", "UTF-8"), (b"", "too few"), (b"abc", "too few"), (None, "no text")]
)
def test_a_file_that_is_no_text_is_refused_in_one_sentence(tmp_path: Path, body: bytes | None, message: str):
    path = tmp_path / "own.txt"
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(path))


def test_a_published_corpus_is_downloaded_once_and_must_stay_the_same(published: dict[str, bytes], tmp_path: Path):
    published["/input.txt"] = SHAKESPEARE.encode()
    corpus = load_corpus("tiny-shakespeare", cache=tmp_path)
    assert corpus.train + corpus.held_out == SHAKESPEARE
    published.clear()
    assert load_corpus("tiny-shakespeare", cache=tmp_path) == corpus
    path = tmp_path / "tiny-shakespeare.txt"
    assert pin_path(path).exists()
    path.unlink()
    published["/input.txt"] = b"something else"
    with pytest.raises(DownloadError, match="SHA-256"):
        load_corpus("tiny-shakespeare", cache=tmp_path)
    assert not path.exists()


def test_a_published_corpus_has_its_published_checksum(
    published: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    body = SHAKESPEARE.encode()
    monkeypatch.setattr(text, "SHA256", {"tiny-shakespeare": hashlib.sha256(body).hexdigest()})
    published["/input.txt"] = body[:-1]
    with pytest.raises(DownloadError, match=r"has the SHA-256 .* was expected; it was not kept"):
        load_corpus("tiny-shakespeare", cache=tmp_path)
    assert not (tmp_path / "tiny-shakespeare.txt").exists()
    published["/input.txt"] = body
    corpus = load_corpus("tiny-shakespeare", cache=tmp_path)
    assert corpus.train + corpus.held_out == SHAKESPEARE
    assert CHECKSUMS.keys() == {*text.PUBLISHED, *(f"{name}-held-out" for name in text.PUBLISHED_HELD_OUT)}


def test_tinystories_has_a_held_out_part_of_its_own(published: dict[str, bytes], tmp_path: Path):
    published |= {"/train": b"Once upon a time there was a fox.", "/valid": b"One day a girl saw a big red ball."}
    assert load_corpus("tinystories", cache=tmp_path) == Corpus(
        "tinystories", "Once upon a time there was a fox.", "One day a girl saw a big red ball."
    )
    short = load_corpus("tinystories", 20, cache=tmp_path)
    assert (short.train, short.held_out) == ("Once upon a time the", "On")
    del published["/train"]
    (tmp_path / "tinystories.txt").unlink()
    with pytest.raises(DownloadError, match=r"/train can't be .*404.*save it as .*tinystories\.txt, or set data\.path"):
        load_corpus("tinystories", cache=tmp_path)
    (tmp_path / "tinystories.txt").write_text("Once upon a time there was a fox.")
    assert load_corpus("tinystories", cache=tmp_path).train == "Once upon a time there was a fox."


CORPUS = Corpus("own", SHAKESPEARE, "Speak, speak, für alle – 你好.\n")


@given(st.text(alphabet=sorted({*CORPUS.train, *CORPUS.held_out})))
def test_characters_and_their_tokens_are_each_others(written: str):
    vocabulary = Characters.of(CORPUS)
    tokens = vocabulary.encode(written)
    assert tokens.dtype == np.int64 and tokens.shape == (len(written),)
    assert vocabulary.decode(tokens) == written
    assert vocabulary_from(vocabulary.as_json()) == vocabulary


def test_a_character_that_is_not_in_the_text_is_named():
    with pytest.raises(ValueError, match="'ß', which is character 4"):
        Characters.of(CORPUS).encode("all ß")


def test_byte_pairs_write_any_text_in_fewer_tokens():
    pytest.importorskip("tokenizers")
    vocabulary: Vocabulary = BytePairs.learned(CORPUS, 300)
    assert 256 < len(vocabulary) <= 300
    for written in (CORPUS.train, CORPUS.held_out, "  two  spaces\n\n\tand 🦊"):
        tokens = vocabulary.encode(written)
        assert vocabulary.decode(tokens) == written and tokens.max() < len(vocabulary)
    assert len(vocabulary.encode(CORPUS.train)) < 0.5 * len(CORPUS.train)
    again = vocabulary_from(vocabulary.as_json())
    assert (again.encode(CORPUS.held_out) == vocabulary.encode(CORPUS.held_out)).all()
    with pytest.raises(ValueError, match="256 bytes"):
        BytePairs.learned(CORPUS, 100)


def test_without_the_library_of_byte_pairs_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=r"curate\[text\]"):
        BytePairs.learned(CORPUS, 300)
    with pytest.raises(ValueError, match="kind 'words'"):
        vocabulary_from({"kind": "words"})


def test_windows_lie_within_the_text_and_those_in_order_share_nothing():
    tokens = np.arange(10)
    assert windows(tokens, 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert windows(tokens, 5, 1).tolist() == [[0, 1, 2, 3, 4]]
    drawn = windows(tokens, 4, 2_000, np.random.default_rng(0))
    assert (np.diff(drawn, axis=1) == 1).all()
    assert np.bincount(drawn[:, 0], minlength=7) / 2_000 == pytest.approx(np.full(7, 1 / 7), abs=0.03)
    for length, n in ((11, 0), (4, 3)):
        with pytest.raises(ValueError, match="text of 10 tokens"):
            windows(tokens, length, n)

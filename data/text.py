"""Text: a file, or a corpus known by name, with its end held out; and vocabularies, which turn it into tokens.

A corpus is English that every CPython has, a published one that is downloaded once, or any file in UTF-8. A vocabulary
is the characters of the text, or byte pairs that are learned from it (the extra `curate[text]`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from data.config import TokenizerName
from data.downloads import DownloadError, OnBytes, default_cache, fetch

EMBEDDED = "python-topics"
HELD_OUT = 0.1  # of the text, its end, where a corpus has no such part of its own
PUBLISHED = {
    "tiny-shakespeare": "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "tinystories": "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-train.txt",
}
PUBLISHED_HELD_OUT = {
    "tinystories": "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt"
}
SHA256 = {  # by the name of the file in the cache; of TinyStories as its repository publishes them, with the files
    "tiny-shakespeare": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    "tinystories": "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
    "tinystories-held-out": "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text in two parts.

    Attributes:
        name: of the corpus, or the path of the file.
        train: the text to learn.
        held_out: the text to measure on; no part of `train`.
    """

    name: str
    train: str
    held_out: str


def load_corpus(
    source: str = EMBEDDED, characters: int = 0, cache: Path | None = None, on_bytes: OnBytes | None = None
) -> Corpus:
    """A corpus by its name or the path of its file; the last tenth is held out, but for 'tinystories', by its project.

    Args:
        source: 'python-topics' (the help texts of the Python language; empty stands for it), 'tiny-shakespeare',
            'tinystories', or a file.
        characters: only so many from its beginning (and a tenth of that of a held-out part of its own); 0 for all.
        cache: where a download goes; the user's cache folder by default.
        on_bytes: called with the progress of a download.

    Raises:
        ValueError: no such file, one that isn't UTF-8, or too short a text.
        DownloadError: it couldn't be downloaded, or isn't the file that was published.
    """
    if source in ("", EMBEDDED):
        from pydoc_data.topics import topics

        text = "\n\n".join(topics[name] for name in sorted(topics))
        return halves(EMBEDDED, text[: characters or None])
    if source not in PUBLISHED:
        return halves(source, read(Path(source), characters))

    def fetched(url: str, name: str, limit: int) -> str:
        path = (cache or default_cache()) / f"{name}.txt"
        try:
            fetch(url, path, SHA256.get(name, ""), on_bytes)
        except DownloadError as error:
            if error.__cause__ is None:  # it came, but isn't the file that was published
                raise
            raise DownloadError(
                f"{url} can't be downloaded ({error.__cause__}); try again, save it as {path}, or set data.path to a "
                "text of your own."
            ) from error
        return read(path, limit)

    text = fetched(PUBLISHED[source], source, characters)
    if source not in PUBLISHED_HELD_OUT:
        return halves(source, text)
    limit = max(1, round(HELD_OUT * characters)) if characters else 0
    return Corpus(source, text, fetched(PUBLISHED_HELD_OUT[source], f"{source}-held-out", limit))


def halves(name: str, text: str) -> Corpus:
    """A text with its last tenth held out.

    Raises:
        ValueError: it is too short to leave anything on both sides.
    """
    cut = len(text) - round(HELD_OUT * len(text))
    if not text[cut:]:
        raise ValueError(
            f"{name} has {len(text)} characters, too few to learn from and to hold a tenth out; choose a longer text."
        )
    return Corpus(name, text[:cut], text[cut:])


def read(path: Path, characters: int = 0) -> str:
    """The text of a file in UTF-8, or its first characters; ends of lines become newlines.

    Raises:
        ValueError: no such file, or one that isn't UTF-8.
    """
    if not path.is_file():
        known = ", ".join([EMBEDDED, *PUBLISHED])
        raise ValueError(f"There is no text at '{path}': name a file in UTF-8, or {known}.")
    try:
        with path.open(encoding="utf-8-sig", newline=None) as file:
            return file.read(characters or -1)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} isn't text in UTF-8 ({error.reason}): convert it first, from Latin-1, say, by "
            "`iconv -f latin1 -t utf8 FILE > NEW`."
        ) from error


class Vocabulary(Protocol):
    """Tokens by number, from 0."""

    def __len__(self) -> int: ...

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64 tokens of a text.

        Raises:
            ValueError: the text has characters that no token stands for.
        """
        ...

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens."""
        ...

    def as_json(self) -> dict[str, Any]:
        """Plain values that `vocabulary_from` reads; `size` is the number of tokens."""
        ...


@dataclass(frozen=True)
class Characters:
    """A vocabulary of single characters.

    Attributes:
        characters: each once, in the order of their code points.
    """

    characters: str

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The characters of a corpus, of its held-out part too: only that they exist is learned from there."""
        return cls("".join(sorted({*corpus.train, *corpus.held_out})))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64 tokens; errors as of `Vocabulary.encode`."""
        known, points = (np.frombuffer(some.encode("utf-32-le"), np.uint32) for some in (self.characters, text))
        tokens = np.minimum(np.searchsorted(known, points), len(known) - 1)
        unknown = np.flatnonzero(known[tokens] != points)
        if len(unknown):
            raise ValueError(f"the vocabulary has no {text[unknown[0]]!r}, which is character {unknown[0]} of the text")
        return tokens.astype(np.int64)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens."""
        return "".join(self.characters[token] for token in tokens)

    def as_json(self) -> dict[str, Any]:
        """Plain values that `vocabulary_from` reads."""
        return {"kind": "characters", "size": len(self), "characters": self.characters}


class BytePairs:
    """A vocabulary of byte pairs, which every text can be written in.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.

    Source: Sennrich et al. 2016 (arXiv 1508.07909); over bytes, as GPT-2's, whose pattern cuts the text into words.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    @classmethod
    def learned(cls, corpus: Corpus, size: int) -> Self:
        """The byte pairs that shorten the training text the most.

        Raises:
            ValueError: fewer than 256 tokens, or the library isn't installed.
        """
        if size < 256:
            raise ValueError(f"a vocabulary of byte pairs has at least the 256 bytes; {size} were asked for")
        library = tokenizers()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        trainer = library.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(corpus.train.splitlines(keepends=True), trainer)
        return cls(tokenizer)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64 tokens."""
        return np.asarray(self.tokenizer.encode(text).ids, dtype=np.int64)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens; bytes that are no character come out as the replacement character."""
        return self.tokenizer.decode([int(token) for token in tokens])

    def as_json(self) -> dict[str, Any]:
        """Plain values that `vocabulary_from` reads."""
        return {"kind": "byte pairs", "size": len(self), "tokenizer": self.tokenizer.to_str()}


def tokenizers() -> Any:
    """The library of byte pairs.

    Raises:
        ValueError: it isn't installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise ValueError("Byte pairs need the tokenizers library: pip install 'curate[text]'.") from error
    return tokenizers


def vocabulary_of(corpus: Corpus, tokenizer: TokenizerName = "char", size: int = 512) -> Vocabulary:
    """The vocabulary of a corpus: its characters, or byte pairs, at most `size` of them; errors as of `BytePairs`."""
    return Characters.of(corpus) if tokenizer == "char" else BytePairs.learned(corpus, size)


def vocabulary_from(values: dict[str, Any]) -> Vocabulary:
    """The vocabulary that `as_json` wrote.

    Raises:
        ValueError: of an unknown kind, or the library isn't installed.
    """
    if values["kind"] == "characters":
        return Characters(values["characters"])
    if values["kind"] != "byte pairs":
        raise ValueError(f"There is no vocabulary of kind '{values['kind']}'.")
    return BytePairs(tokenizers().Tokenizer.from_str(values["tokenizer"]))


def windows(tokens: np.ndarray, length: int, n: int = 0, rng: np.random.Generator | None = None) -> np.ndarray:
    """(n, length) int64 windows of a text: at random places, or without `rng` one after the other, which share none.

    Raises:
        ValueError: the text is shorter than one window, or than n without overlap.
    """
    if len(tokens) < max(1, length):
        raise ValueError(f"a text of {len(tokens)} tokens has no window of {length}; choose a longer text")
    if rng is not None:
        starts = rng.integers(len(tokens) - length + 1, size=n)
        return tokens[starts[:, None] + np.arange(length)]
    whole = len(tokens) // length
    if n > whole:
        raise ValueError(f"a text of {len(tokens)} tokens has {whole} windows of {length} without overlap, not {n}")
    return tokens[: whole * length].reshape(whole, length)[: n or None]

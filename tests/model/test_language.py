"""N-gram models by hand and by their own draws; figures of language models on texts whose figures are known."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.text import Characters, load_corpus, windows
from model import checkpoint
from model.generators.language import (
    Ngram,
    cross_entropy,
    distinct,
    draw_tokens,
    mean_l1,
    rare_share,
    type_token_curve,
    uniforms,
)

TEXT = np.array([[0, 1, 0, 1, 0, 2]])
LAW = np.array([0.5, 0.3, 0.2, 0.0])


def test_frequencies_after_each_context_by_hand():
    model = Ngram(3, order=2).fit(TEXT)
    assert model.next_laws(np.empty((1, 0), dtype=np.int64)).tolist() == [[3 / 6, 2 / 6, 1 / 6]]
    laws = model.next_laws(np.array([[0], [1], [2]]))
    assert laws[:2].tolist() == [[0, 2 / 3, 1 / 3], [1, 0, 0]]
    assert laws[2] == pytest.approx([3 / 6, 2 / 6, 1 / 6])  # nothing followed: a shorter context's
    assert model.next_laws(np.array([[2, 2, 0]])) == pytest.approx(laws[:1])  # the last token alone counts
    seen = model.log_likelihood(TEXT)
    assert np.exp(seen[0]) == pytest.approx([1 / 2, 2 / 3, 1, 2 / 3, 1, 1 / 3])
    assert model.log_likelihood(np.array([[0, 0]]))[0, 1] == -np.inf


def test_interpolation_by_hand():
    law = Ngram(4, order=2, interpolated=True).fit(TEXT).next_laws(np.array([[0], [3]]))
    shorter = (np.array([3, 2, 1, 0]) + 3 / 4) / 9  # three kinds among six tokens, over the even law
    assert law[0] == pytest.approx((np.array([0, 2, 1, 0]) + 2 * shorter) / 5)
    assert law[1] == pytest.approx(shorter)


def test_windows_count_by_their_weights_and_none_reaches_into_the_next():
    rows = np.array([[0, 1, 2], [2, 0, 0], [1, 1, 1]])
    once = Ngram(3, order=3).fit(rows[[0, 0, 1]])
    weighed = Ngram(3, order=3).fit(rows, np.array([2.0, 1.0, 0.0]))
    contexts = np.array(list(itertools.product(range(3), repeat=2)))
    assert weighed.next_laws(contexts[:3]) == pytest.approx(once.next_laws(contexts[:3]))
    assert once.next_laws(np.array([[2]]))[0].tolist() == [1, 0, 0]  # not of the two in a row across windows


@given(interpolated=st.booleans(), order=st.integers(1, 4), seed=st.integers(0, 100))
def test_probabilities_of_all_texts_add_up_to_one(interpolated: bool, order: int, seed: int):
    rng = np.random.default_rng(seed)
    model = Ngram(3, order, interpolated).fit(rng.integers(3, size=(4, 5)))
    every = np.array(list(itertools.product(range(3), repeat=4)))
    assert np.exp(model.log_likelihood(every).sum(axis=1)).sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 2.5])
def test_tokens_are_drawn_by_the_law_at_its_temperature(temperature: float):
    u = uniforms(np.arange(20_000), 1)[:, 0]
    drawn = np.bincount(draw_tokens(np.tile(7 * LAW, (20_000, 1)), u, temperature), minlength=4) / 20_000
    expected = LAW ** (1 / temperature)
    expected /= expected.sum()
    assert (np.abs(drawn - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000) + 1e-12).all()


def test_a_cold_draw_is_the_likeliest_and_a_temperature_is_above_zero():
    assert (draw_tokens(np.tile(LAW, (50, 1)), np.linspace(0, 0.999, 50), 0.01) == 0).all()
    assert draw_tokens(LAW[None, ::-1], np.zeros(1)).tolist() == [1]  # not the first, which has no mass
    assert draw_tokens(LAW[None], np.full(1, np.nextafter(1, 0))).tolist() == [2]
    with pytest.raises(ValueError, match="above 0"):
        draw_tokens(LAW[None], np.zeros(1), 0.0)


def test_samples_follow_the_counts_and_a_text_depends_on_its_own_seed_alone():
    model = Ngram(3, order=2).fit(TEXT)
    seeds = np.arange(4_000)
    texts = model.sample(seeds, 8)
    assert (model.sample(seeds[[17, 3]], 8) == texts[[17, 3]]).all()
    assert (model.sample(seeds[:50], 5) == texts[:50, :5]).all()
    after = texts[:, 1:][texts[:, :-1] == 0]
    assert np.bincount(after, minlength=3) / len(after) == pytest.approx([0, 2 / 3, 1 / 3], abs=0.02)
    cold = model.sample(seeds, 8, temperature=0.05)
    assert (cold[:, 1:][cold[:, :-1] == 0] == 1).all()


def test_longer_contexts_predict_held_out_text_better_and_text_reads_like_it():
    corpus = load_corpus(characters=150_000)
    vocabulary = Characters.of(corpus)
    train = windows(vocabulary.encode(corpus.train), 100)
    held_out = windows(vocabulary.encode(corpus.held_out), 100)
    found = [cross_entropy(Ngram(len(vocabulary), order, True).fit(train), held_out) for order in (1, 2, 4)]
    assert found[0] > found[1] + 0.5 > found[2] + 1.0
    assert cross_entropy(Ngram(len(vocabulary), 1, True), held_out) == pytest.approx(np.log(len(vocabulary)))
    text = vocabulary.decode(Ngram(len(vocabulary), 5, True).fit(train).sample(np.array([4]), 400)[0])
    words = [word for word in text.split()[1:-1] if word.isalpha()]
    assert np.mean([word in corpus.train for word in words]) > 0.8


def test_a_checkpoint_gives_the_same_laws(tmp_path: Path):
    model = Ngram(3, 3, interpolated=True, seed=5).fit(np.random.default_rng(0).integers(3, size=(9, 12)))
    sha256 = model.save(tmp_path / "model.safetensors")
    again = Ngram.load(tmp_path / "model.safetensors")
    assert (again.sha256, again.seed, again.interpolated) == (sha256, 5, True)
    contexts = np.array(list(itertools.product(range(3), repeat=2)))
    assert (again.next_laws(contexts) == model.next_laws(contexts)).all()
    checkpoint.save(tmp_path / "other.safetensors", checkpoint.Checkpoint("flow", {}, {}, 0))
    with pytest.raises(checkpoint.MissingCheckpointError, match="holds a flow"):
        Ngram.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "make",
    [lambda: Ngram(3, 0), lambda: Ngram(0), lambda: Ngram(1_000, 12), lambda: Ngram(3).fit(np.array([[3]]))],
)
def test_models_that_cannot_be_are_refused(make: Callable[[], Ngram]):
    with pytest.raises(ValueError, match=r"order|tokens"):
        make()


def test_distances_between_laws_go_from_none_to_two():
    first = np.array([[1.0, 0.0], [0.5, 0.5]])
    assert mean_l1(first, first) == 0 and mean_l1(first, first[:, ::-1]) == pytest.approx(1)
    assert mean_l1(np.eye(2), np.eye(2)[::-1]) == 2


def test_distinct_n_grams_types_and_the_rare_tenth_by_hand():
    assert distinct(TEXT, 1) == 3 / 6 and distinct(TEXT, 2) == 3 / 5
    assert distinct(np.array([[0, 1], [1, 0], [0, 1]]), 2) == 2 / 3  # 1, 1 and 0, 0 aren't in one text
    with pytest.raises(ValueError, match="3-grams"):
        distinct(np.array([[0, 1]]), 3)
    assert type_token_curve(TEXT[0], [0, 1, 2, 5, 6, 99]).tolist() == [0, 1, 2, 2, 3, 3]
    # of 20 tokens a tenth is two: token 3, once, and a third of token 2, three times
    reference = np.repeat([0, 1, 2, 3], [10, 6, 3, 1])
    assert rare_share(reference, reference) == pytest.approx(0.1)
    assert rare_share(reference, np.array([3, 3, 0, 0])) == 0.5
    assert rare_share(reference, np.array([2, 0])) == pytest.approx(1 / 6)
    assert rare_share(reference, np.array([0, 1, 9])) == 0


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_reference_has_its_own_tail(tokens: list[int], tail: float):
    reference = np.array(tokens)
    assert rare_share(reference, reference, tail) == pytest.approx(tail)

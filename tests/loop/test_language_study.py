"""Studies of texts, whole: counts and a transformer in the loop, what is stored and read back, rewards, the control."""

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from curate_app.commands.sweep import language_table
from curate_app.report.charts import compared_charts
from data.config import DataConfig
from data.datasets import count, load, load_test
from data.store import queries
from data.text import vocabulary_from
from loop.analysis.log import AnswerFilter
from loop.analysis.report import FitOptions, choice_report, text_columns
from loop.config import StudyConfig, build
from loop.evaluation import LanguageMeasure, redrawn
from loop.evidence.study import evidence_of
from loop.generators import load_generator
from loop.learners import fit_utilities
from loop.policy import POLICY_KINDS, DataPolicy
from loop.scoring import Scorer, reference_model
from loop.selfcheck import self_checks
from loop.slates import draw_scored
from loop.study import Study, configure, faults
from loop.sweep.results import LANGUAGE, response
from loop.training_data import Mixture, curated_count, read_curated, real_only
from loop.worker import Worker
from model.checkpoint import load as load_checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.text_generators import GptGenerator, NgramGenerator
from model.interfaces import Rows
from model.sampling import derive_seeds

Make = Callable[..., Study]
TINY = ("data.n=400", "data.length=32", "data.characters=40000", "network.order=3", "curation.picks=300",
        "evaluation.samples=300", "pool.size=12", "pool.audit=4")  # fmt: skip
GPT = ("network.kind=gpt", "network.width=16", "network.depth=1", "network.heads=2", "train.pretrain_steps=30",
       "train.finetune_steps=10", "train.batch_size=16", "sampling.batch_size=64")  # fmt: skip
TABLES = TrainConfig(), SamplingConfig()


def vowels(texts: list[str]) -> np.ndarray:
    """A user's own reward."""
    return np.array([sum(letter in "aeiou" for letter in text) / len(text) for text in texts])


@pytest.fixture
def make_text(tmp_path: Path) -> Iterator[Make]:
    studies: list[Study] = []

    def create(*settings: str, seed: int = 0) -> Study:
        config = configure("text", [*TINY, *settings], seed=seed)
        studies.append(Study.create(tmp_path / f"study-{len(studies)}", config))
        return studies[-1]

    yield create
    for study in studies:
        study.store.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, run) -> Iterator[Study]:
    """A study of two generations by users who like the letter e, to be looked at only."""
    settings = [*TINY, "reward.kind=share", "reward.word=e", "reward.gamma=10", "curation.picks=800",
                "evaluation.samples=1500"]  # fmt: skip
    study = run(Study.create(tmp_path_factory.mktemp("text") / "study", configure("text", settings, seed=1)))
    yield study
    study.store.close()


def test_the_letter_that_users_like_becomes_more_frequent_as_predicted(written: Study):
    evidence = evidence_of(written, leave=False)
    rewards = [generation.measured.mean_reward.value for generation in evidence.generations]
    assert rewards[0] + 0.1 < rewards[1] < rewards[2]
    carried = evidence.generations[2].transmission_so_far
    assert carried is not None and carried.ratio is not None and carried.ratio.low < carried.ratio.high
    assert 0.6 < carried.ratio.value < 1.3
    assert evidence.w_sup == pytest.approx(math.exp(10))
    assert evidence.real_language is not None and evidence.real_language.rare_share.value == pytest.approx(
        0.1, abs=0.02
    )


def test_what_was_picked_is_read_back_token_by_token(written: Study):
    generation = written.store.generations()[1]
    assert generation.measurements.turn is not None
    curated = read_curated(written, generation.measurements.turn)
    assert curated.x.shape == (800, 32) and curated.x.dtype == torch.int64
    vocabulary = written.real.vocabulary
    assert vocabulary is not None
    rows = list(written.store.rows("SELECT text, point_json, image_sha256, reward FROM sample"))
    assert len(rows) == 2 * 4 * 800 and not any(row["image_sha256"] for row in rows)
    for row in rows[:50]:
        assert vocabulary.decode(json.loads(row["point_json"])) == row["text"]
        share = row["text"].lower().count("e") / len(row["text"])
        assert row["reward"] == pytest.approx(10 * share)
    assert vocabulary_from(load_checkpoint(written.checkpoint_path(1)).config["text"]) == vocabulary


def test_every_generation_has_the_figures_of_language(written: Study):
    for generation in written.store.generations():
        measured, by = generation.measurements, generation.measurements.language
        assert by is not None and by.cross_entropy is not None and by.no_mass == 0
        assert by.perplexity == pytest.approx(math.exp(by.cross_entropy.value))
        assert by.l1_first is not None and (by.l1_first.value == 0) == (generation.t == 0)
        assert (by.l1_second is None) == (generation.t == 0)
        assert by.distinct_n == (2, 3, 4) and list(by.distinct) == sorted(by.distinct)
        assert by.texts == 1_500 and len(by.examples) == 3 and by.type_lengths[-1] >= by.types[-1]
        assert measured.distances is None and measured.nn_ratio is None and measured.divergence.space == ""
    figures = [generation.measurements.language for generation in written.store.generations()]
    first, second = (by.cross_entropy for by in figures[:2] if by)
    assert first and second and second.value > first.value  # of text that the picks are no sample of


def test_the_cross_entropy_takes_no_law_of_a_windows_first_token(written: Study):
    """Of a first token a transformer has a frequency alone, which is 0 of most tokens after cold generations."""
    network = NetworkConfig(kind="gpt", width=16, depth=1, heads=2, context=31, precision="fp32")
    vocabulary = written.real.vocabulary
    assert vocabulary is not None
    untrained = GptGenerator.build((32,), network, *TABLES, vocabulary=vocabulary.as_json())
    cold = replace(untrained, model=replace(untrained.model, start=np.eye(len(vocabulary))[0]))
    measure = LanguageMeasure(written, Scorer(written.config, None, ("text",), written.real))
    tokens = measure.held_out[:8]
    assert np.isneginf(cold.log_likelihood(tokens)[:, 0]).any()
    by = measure.of(cold, 2, tokens, ["text"])  # pyright: ignore[reportArgumentType] - its `build` takes a vocabulary
    assert by.no_mass == 0 and by.cross_entropy is not None
    assert by.cross_entropy.value == pytest.approx(-cold.log_likelihood(measure.held_out)[:, 1:].mean())


def test_utilities_of_texts_are_fitted_to_numbers_of_their_words_and_letters(written: Study):
    """Users like the share of e alone, ten a unit, so nothing else has a utility beside it."""
    features = ("share:e", "share:the", "words", "word_length", "log_probability")
    options = FitOptions(AnswerFilter(("sim",)), features)
    report = choice_report(written.store, written.config, options)
    assert report.fit.names == features
    assert np.all(np.abs(report.fit.coefficients - [10, 0, 0, 0, 0]) < 4 * report.fit.se)
    assert report.fit.coefficients[0] > 10 * report.fit.se[0]
    rows = list(written.store.rows("SELECT id, text, point_json FROM sample ORDER BY id LIMIT 5"))
    columns = text_columns(written.store, written.config, ("sim",), features)
    reference = reference_model(written.real, written.config.reward.order)
    for row in rows:
        logs = reference.log_likelihood(np.array([json.loads(row["point_json"])]))
        words = re.findall(r"\w+", row["text"])
        n = max(1, len(words))
        shares = row["text"].lower().count("e") / 32, [word.lower() for word in words].count("the") / n
        expected = [*shares, len(words), sum(map(len, words)) / n, logs.mean()]
        assert [columns[name][row["id"]] for name in features] == pytest.approx(expected)
    for wrong, why in (("share:", "share:e or share:because"), ("factors", "no points"), ("length", "word_length")):
        with pytest.raises(ValueError, match=why):
            choice_report(written.store, written.config, FitOptions(AnswerFilter(("sim",)), (wrong,)))


def test_a_sweep_has_intervals_of_the_figures_of_language_over_seeds(written: Study):
    evidence = evidence_of(written, leave=False)
    by, answer = evidence.generations[2].language, response({}, [evidence, evidence], 2)
    assert by is not None and by.cross_entropy is not None and list(answer.language) == list(LANGUAGE)
    both = answer.language["cross-entropy"]
    assert both.each == (by.cross_entropy.value,) * 2 and both.low == both.high == by.cross_entropy.value
    table = language_table([answer])
    assert [column.header for column in table.columns] == list(LANGUAGE) and table.row_count == 1
    charts = {chart.title: chart.chart for chart in compared_charts([evidence, evidence], ["first", "second"])}
    both_lines = charts["Cross-entropy on held-out real text"].lines
    assert [line.points[2].value for line in both_lines] == [by.cross_entropy.value] * 2
    assert any("laws of the next token" in title for title in charts)


def test_a_text_depends_on_its_own_seed_alone(written: Study):
    generator = load_generator(written, 2)
    seeds = derive_seeds(40, 9)
    whole = generator.sample(seeds)
    assert torch.equal(generator.sample(seeds[7:9]), whole[7:9])
    scorer = Scorer(written.config, None, ("text",), written.real)
    drawn = draw_scored(generator, scorer, 2, seeds)
    assert drawn.scores.texts is not None and len(drawn.scores.texts[0]) == 32
    proxied = configure("text", [*TINY, "curation.extend=proxy"])
    features = Scorer(proxied, None, ("text",), written.real).score(drawn.x).features
    assert features is not None and features.sum(axis=1) == pytest.approx(1)


def test_a_study_of_texts_passes_its_checks_and_draws_its_evaluation_again(written: Study):
    assert faults(written) == []
    assert all(check.verdict != "fail" for check in self_checks(written.store, written.config))
    again = redrawn(written, np.random.default_rng(0))
    assert [check.verdict for check in again] == ["pass"] * 3  # samples in slates, too


@pytest.mark.parametrize("settings", [(), (*GPT, "train.restart=true", "train.pretrain_steps=3")], ids=["ngram", "gpt"])
@pytest.mark.parametrize("kind", POLICY_KINDS)
def test_both_models_learn_under_every_data_policy(kind: str, settings: tuple[str, ...], make_text: Make, run):
    study = run(make_text(f"mix.policy={kind}", "mix.lam=1", "data.n=100", "curation.picks=80", "curation.k=2",
                          "evaluation.samples=100", *settings), 2)  # fmt: skip
    generation = study.store.generations()[2]
    training, by = generation.measurements.training, generation.measurements.language
    assert training is not None and sum(training.shares_achieved) == pytest.approx(1)
    drawn = settings != ()  # batch by batch, where counts take every row
    assert training.shares_achieved == pytest.approx(training.shares_asked, abs=0.03 if drawn else 1e-9)
    assert by is not None and by.cross_entropy is not None and by.l1_second is not None and by.l1_second.value > 0


@pytest.mark.parametrize("restart", ["true", "false"])
def test_a_transformer_is_in_the_loop(restart: str, make_text: Make, run):
    settings = ("curation.picks=60", "curation.k=2", "data.tokenizer=bpe", "data.vocabulary=270",
                "evaluation.samples=100", "reward.kind=likelihood", "mix.lam=1")  # fmt: skip
    study = run(make_text(*GPT, f"train.restart={restart}", *settings), 1)
    generator = load_generator(study, 1)
    assert isinstance(generator, GptGenerator)
    assert generator.model.parent == (None if restart == "true" else study.store.generations()[0].checkpoint_sha256)
    seeds = derive_seeds(70, 3)
    assert torch.equal(generator.sample(seeds[66:68]), generator.sample(seeds)[66:68])
    figures = study.store.generations()[1].measurements.language
    assert figures is not None and figures.tokens == "byte pair" and figures.cross_entropy is not None
    assert read_curated(study, study.store.generations()[1].measurements.turn).x.shape == (60, 32)  # type: ignore[arg-type]


def test_items_longer_than_a_context_are_read_as_they_are_sampled():
    network = NetworkConfig(kind="gpt", width=16, depth=1, heads=2, context=5, precision="fp32")
    torch.manual_seed(1)
    generator = GptGenerator.build((13,), network, *TABLES, vocabulary={"size": 4})
    tokens = torch.randint(4, (3, 13)).numpy()
    logs = generator.log_likelihood(tokens)
    first = 0
    for i in range(13):  # the scheme of Gpt.sample
        first = i - 2 if i - first > 5 else first
        law = generator.next_laws(tokens[:, first:i])
        assert logs[:, i] == pytest.approx(np.log(law[np.arange(3), tokens[:, i]]), abs=1e-5)


@pytest.mark.parametrize("policy", [DataPolicy("replace"), DataPolicy("mix", 0.5), DataPolicy("accumulate")], ids=str)
def test_the_control_is_the_categorical_model_after_each_context(policy: DataPolicy):
    """S_m = E sum p^2 and E L2^2 from generation 0: p' = a p_0 + b p + c f, f the frequencies of n draws from p.

    E p is p_0 throughout, so E L2^2 follows exactly and S_m is S_0 more (Seddik et al. 2024 for replace and mix).
    """
    contexts, rows, n, generations, loops = 4, 20, 12, 4, 120
    rng = np.random.default_rng(0)
    real = Rows(torch.from_numpy(rng.integers(contexts, size=(rows, 8)) ** 2 % 5))
    network = NetworkConfig(kind="ngram", order=2, interpolated=False, draws=round(n / policy.lam))
    untrained = NgramGenerator.build((8,), network, *TABLES, vocabulary={"size": 5})
    measured = []
    for loop in range(loops):
        generator = untrained.fit(real_only(real), None, loop)
        sets, own = [], [generator.model.levels[1].counts.toarray()]
        own[0] /= own[0].sum(axis=1, keepdims=True)
        for t in range(1, generations):
            sets.append(Rows(generator.sample(derive_seeds(policy.asked(rows, t), loop, t))))
            composition = policy.compose(rows, [len(part) for part in sets], rng)
            generator = generator.fit(Mixture.compose(real, sets, composition, rng), generator, loop * 100 + t)
            own.append(generator.model.levels[1].counts.toarray())
        measured.append(own)
    laws = np.array(measured)  # (loops, generations, contexts, tokens)
    assert laws.sum(axis=-1) == pytest.approx(1)
    start, exact = float((laws[0, 0] ** 2).sum(-1).mean()), 0.0
    for t in range(1, generations):
        share = {"replace": 1.0, "mix": policy.lam / (1 + policy.lam), "accumulate": 1 / (t + 1)}[policy.kind]
        left = share if policy.kind == "mix" else 1.0  # of the deviation
        exact = left**2 * exact + share**2 * (1 - start - exact) / n
        deviation = ((laws[:, t] - laws[:, 0]) ** 2).sum(-1).mean(1)
        squares = (laws[:, t] ** 2).sum(-1).mean(1) - start
        for values in (deviation, squares):
            assert abs(values.mean() - exact) < 4 * values.std(ddof=1) / math.sqrt(loops)
    if policy.kind == "replace":
        assert exact == pytest.approx((1 - (1 - 1 / n) ** (generations - 1)) * (1 - start))


def test_the_control_runs_as_a_study_and_goes_on_from_its_checkpoints(make_text: Make, run):
    settings = ("network.draws=40", "network.interpolated=false", "network.order=2", "curation.k=1", "curation.picks=0",
                "data.n=100", "mix.policy=recent", "evaluation.samples=100")  # fmt: skip
    study = run(run(make_text(*settings), 1), 3)
    generator, whole = load_generator(study, 3), run(make_text(*settings), 3)
    assert isinstance(generator, NgramGenerator) and len(generator.sets) == 4
    assert study.store.generations()[3].checkpoint_sha256 == whole.store.generations()[3].checkpoint_sha256
    by = study.store.generations()[3].measurements.language
    assert by is not None and by.no_mass and by.cross_entropy is None  # tokens have died out


def test_the_first_generations_texts_stand_for_the_real_data(make_text: Make, run):
    """Seddik et al.: generation 1 learns what generation 0 wrote, and later ones mix those texts with the latest."""
    study = run(make_text("mix.policy=mix", "mix.lam=0.5", "mix.origin=generation", "curation.k=1", "data.n=100",
                          "curation.picks=0", "evaluation.samples=100"), 3)  # fmt: skip
    of = [row.measurements.training for row in study.store.generations() if row.measurements.training]
    assert [training.shares_asked for training in of] == [(0, 1), pytest.approx((2 / 3, 1 / 3)), of[1].shares_asked]
    assert [training.rows for training in of] == [(0, 100), (100, 50), (100, 50)]  # N rows stand for the real data
    evidence = evidence_of(study, leave=False)
    assert all(abs(row.transmission.z) < 4 for row in evidence.generations[1:] if row.transmission)
    assert all(row.floors == {} and row.predicted_from_start is None for row in evidence.generations)
    mixed = next(claim for claim in evidence.claims if claim.claim == "C5 reversed")
    assert mixed.verdict == "not applicable" and "generation 1's set" in mixed.reason


def test_people_pick_texts_and_a_fitted_user_goes_on(make_text: Make, people):
    study = make_text("curation.extend=proxy", "curation.picks=40", "schedule.picks=10", "curation.k=3",
                      "slates.attention=0.1", "journey.practice=1")  # fmt: skip
    Worker(study).run(once=True)
    rows = list(study.store.rows("SELECT text, reward_json FROM sample WHERE reward_json LIKE '%shuffled%'"))
    assert rows and all(row["text"] for row in rows)
    people(study, 10)
    Worker(study).run(once=True)
    latest = study.store.generations()[-1]
    assert latest.t == 1 and latest.measurements.curated is not None
    assert (latest.measurements.curated.human, latest.measurements.curated.proxy) == (10, 30)
    picks = list(queries.curation_picks(study.store, kinds=("human", "proxy")))
    assert len(picks) == 40 and all(pick["point_json"] for pick in picks)
    scorer = Scorer(study.config, None, ("text",), study.real)
    size = len(study.real.vocabulary or "")
    assert len(fit_utilities(study, scorer, picks[-1]["pick_id"]).mean) == size


def test_rewards_of_texts_by_hand():
    real = load(DataConfig(dataset="text", length=16, characters=20_000), 0)
    assert real.vocabulary is not None
    texts = ["An owl ate an ant", "xxxxxxxx"]
    x = torch.from_numpy(np.stack([real.vocabulary.encode(text[:8].ljust(8)) for text in texts]))

    def rewards(**reward: object) -> list[float]:
        config = build({"data": {"dataset": "text"}, "network": {"kind": "ngram"}, "reward": reward})
        return Scorer(config, None, ("text",), real).score(x).reward.tolist()

    assert rewards(kind="share", word="a", gamma=2.0) == pytest.approx([2 * 2 / 8, 0])  # 'An owl a'
    assert rewards(kind="share", word="owl", gamma=3.0) == pytest.approx([1, 0])
    assert rewards(kind="word_length", length=8.0, gamma=1.0) == pytest.approx([-6, 0])
    likely, unlikely = rewards(kind="likelihood", gamma=1.0)
    assert unlikely < likely < 0
    own = rewards(kind="tests.loop.test_language_study:vowels", gamma=1.0)
    assert own == pytest.approx([2 / 8, 0])


def test_real_texts_are_windows_of_a_file_and_its_end_is_held_out(tmp_path: Path):
    path = tmp_path / "own.txt"
    path.write_text("abcdefghij" * 100, encoding="utf-8")
    config = DataConfig(dataset="text", path=str(path), length=10)
    real, test = load(config, 0), load_test(config)
    assert test is not None and (len(real), len(test), count(config)) == (90, 10, 90)
    assert real.vocabulary is not None and {real.vocabulary.decode(row) for row in real.x} == {"abcdefghij"}
    for length in (51, 200):
        with pytest.raises(
            ValueError, match=rf"too short for data\.length = {length}: .* set data\.length to 50 or less"
        ):
            load(config.model_copy(update={"length": length}), 0)
    assert len(load(config.model_copy(update={"length": 50}), 0)) == 18
    with pytest.raises(ValueError, match="There is no text at"):
        load(config.model_copy(update={"path": str(tmp_path / "none.txt")}), 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network.kind=mlp"], "network.kind 'mlp' writes no texts: set it to ngram or gpt"),
        (["reward.kind=confidence"], "reward.kind 'confidence' is for images; here use 'share'"),
        (["network.draws=5"], "network.draws is the control without choice"),
        (["network.draws=5", "curation.k=1", "mix.origin=generation"], "network.draws .* set mix.origin to data"),
        (["reward.word=of the"], "'of the' must be a single character, or one word"),
        (["evaluation.features=inception", "evaluation.features_file=x"], "is for images, not for texts"),
        (["data.dataset=digits", "reward.kind=ink"], "network.kind 'ngram' is for texts"),
        (["data.dataset=digits", "network.kind=digits"], "reward.kind 'word_length' is for texts"),
    ],
)
def test_settings_that_dont_go_with_texts_are_refused_in_a_sentence(settings: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        configure("text", settings)


def test_presets_of_texts_are_whole():
    assert isinstance(configure("text"), StudyConfig)
    config = configure("shakespeare-small")
    assert (config.data.path, config.network.kind, config.curation.k) == ("tiny-shakespeare", "gpt", 1)
    whole = configure("shakespeare").data  # of 1,115,394 characters, nine tenths of which are learned
    assert 0 < whole.n * whole.length < 0.9 * 1_115_394


def test_a_grown_set_that_replaces_has_the_rows_of_accumulate_from_either_origin():
    for picks, rows in (("", 50), ("curation.picks=30", 30)):
        settings = [setting for setting in ("mix.policy=replace_grown", "curation.picks=0", picks) if setting]
        of = [configure("text", [*settings, f"mix.origin={origin}"]) for origin in ("data", "generation")]
        assert [curated_count(of[0], 50, t) for t in (1, 2, 3)] == [50 + t * rows for t in (1, 2, 3)]
        assert [curated_count(of[1], 50, t) for t in (1, 2, 3)] == [t * rows for t in (1, 2, 3)]

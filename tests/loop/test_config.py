"""study.toml: written out in full and read back the same; errors name the setting."""

import math

import pytest

from loop.config import StudyConfig, build, known_keys, override, parse
from loop.presets import PRESETS
from loop.study import configure


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_written_and_read_back_the_same(preset: str):
    config = configure(preset, seed=5)
    assert parse(config.to_toml()) == config
    assert config.preset == preset and config.seed == 5


@pytest.mark.parametrize(
    "setting", ["curation.k=inf", 'curation.k="inf"', "mix.lam=inf", "reward.center=[1, -2.5]", 'app.title="É \\"?\\""']
)
def test_settings_survive_the_file(setting: str):
    config = configure("digits", [setting])
    assert config != configure("digits")
    assert parse(config.to_toml()) == config


def test_every_setting_is_written_out():
    text = configure("moons").to_toml()
    for key in known_keys():
        assert f"{key.rpartition('.')[2]} = " in text


def test_infinity_is_a_number_for_lam_and_a_word_for_k():
    config = configure("moons", ["mix.lam=inf", "curation.k=inf"])
    assert math.isinf(config.mix.lam) and config.curation.k == "inf"
    stored = config.as_json()
    assert (stored["mix"]["lam"], stored["curation"]["k"]) == ("inf", "inf")
    assert not {"app", "journey", "panel"} & stored.keys()  # a password, texts and codes are no one else's


def test_the_stored_configuration_is_plain_json_that_builds_the_same_study():
    import json

    config = configure("moons")
    again = build(json.loads(json.dumps(config.as_json(), allow_nan=False)))
    assert again.model_dump(exclude={"app"}) == config.model_dump(exclude={"app"})


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("curation.K", "curation.k"), ("curation.pick", "curation.picks"), ("mix.lambda", "mix.lam"),
        ("sampling.step", "sampling.steps"), ("generation", "generations"), ("train.finetune_step", "train.finetune"),
    ],
)  # fmt: skip
def test_an_unknown_key_names_the_nearest(wrong: str, near: str):
    with pytest.raises(ValueError, match=f"'{wrong}'; did you mean {near}"):
        override({}, [f"{wrong}=1"])


@pytest.mark.parametrize("text", ["[curation]\nkk = 4", "sed = 1", "[curatoin]\nk = 4", "[curation.k]\nx = 1"])
def test_an_unknown_key_in_the_file_is_an_error_that_names_the_file(text: str):
    with pytest.raises(ValueError, match=r"my\.toml.*(did you mean|curation)"):
        parse(text, "my.toml")


@pytest.mark.parametrize(
    "setting",
    [
        "curation.k=0", "curation.lapse=1.5", "curation.position_bias=[1]", "mix.policy=all",
        "curation.k=-inf", "curation.k=nan", "curation.k=2.5", "curation.k=many",
        "curation.picks=-1", "curation.extend=all", "curation.ridge=0", "mix.lam=0", "mix.lam=-1", "mix.lam=nan",
        "data.dataset=mnist", "data.n=-1", "sampling.solver=rk45", "sampling.steps=0", "train.batch_size=1",
        "evaluation.samples=10", "generations=0", "seed=-1", "seed=4294967296", "schedule.picks=0", "pool.size=0",
        "pool.lease_s=0", "reward.target=-1", "reward.center=[1]", "classifier.holdout=1", "app.reveal=maybe",
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_and_the_setting_named(setting: str):
    key = setting.partition("=")[0]
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        configure("digits", [setting])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("curation.k=2.5", 'curation.k: k must be a whole number, 1 (no choice) or more, or "inf", not 2.5'),
        ("curation.k=true", 'curation.k: k must be a whole number, 1 (no choice) or more, or "inf", not True'),
        ("curation.position_bias=[nan, 0]", "curation.position_bias.0: Input should be a finite number"),
        ("curation.position_bias=[0, -inf]", "curation.position_bias.1: Input should be a finite number"),
        ("curation.lapse=nan", "curation.lapse: Input should be a finite number"),
        ("reward.gamma=nan", "reward.gamma: Input should be a finite number"),
        ("reward.gamma=inf", "reward.gamma: Input should be a finite number"),
        ("reward.center=[nan, 0]", "reward.center.0: Input should be a finite number"),
        ("reward.supremum=nan", "reward.supremum: supremum must be a number, or inf where there is none"),
        ("adversary.gamma=nan", "adversary.gamma: Input should be a finite number"),
        ("train.finetune_lr=inf", "train.finetune_lr: Input should be a finite number"),
    ],
)
def test_a_number_that_is_none_is_refused_in_one_sentence(setting: str, sentence: str):
    with pytest.raises(ValueError) as refused:
        configure("moons", ["curation.k=2", setting])
    assert str(refused.value) == f"--set: {sentence}"
    assert configure("moons", ["mix.lam=inf"]).mix.lam == float("inf") and configure("moons", ["curation.k=inf"])


@pytest.mark.parametrize("text", ["[curation", "k = ", "a = 1\na = 2"])
def test_what_is_no_toml_is_refused(text: str):
    with pytest.raises(ValueError, match=r"study\.toml is not valid TOML"):
        parse(text)


def test_a_setting_without_a_value_is_refused():
    with pytest.raises(ValueError, match="key=value"):
        override({}, ["curation.k"])


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"mnist.*digits, flowers, moons, gaussians, cifar10, cifar10-small, folder"):
        configure("mnist")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("reward.kind=my.module:Liking", "my.module:Liking"),
        ("reward.kind='ball'", "ball"),
        (" reward.kind = ball", "ball"),
    ],
)
def test_text_needs_no_quotes(setting: str, value: str):
    assert configure("moons", [setting]).reward.kind == value


def test_overriding_leaves_the_preset_as_it_was():
    before = StudyConfig.model_validate(PRESETS["digits"])
    override(PRESETS["digits"], ["curation.k=9", "train.batch_size=8"])
    assert StudyConfig.model_validate(PRESETS["digits"]) == before


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("moons", ["reward.kind=confidence"], "reward.kind 'confidence' is for images"),
        ("digits", ["reward.kind=ball"], "reward.kind 'ball' is for points"),
        ("moons", ["reward.kind=opposite"], "is for an adversary"),
        ("moons", ['population=[{name="a", kind="class_prob"}]'], "population 'a': kind 'class_prob' is for images"),
        ("digits", ["curation.adversarial=0.1", "adversary.kind=ball"], "adversary.kind 'ball'"),
        ("digits", ["curation.extend=accumulate", "mix.policy=accumulate"], "both accumulate"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(preset: str, settings: list[str], message: str):
    with pytest.raises(ValueError, match=message) as refused:
        configure(preset, settings)
    assert "Value error" not in str(refused.value) and ": :" not in str(refused.value)


def test_a_number_of_raters_needs_an_end_and_more_than_one():
    with pytest.raises(ValueError, match=r"set journey\.picks"):
        build({"stop": {"raters": 5}})
    with pytest.raises(ValueError, match="one rater says nothing of others"):
        build({"stop": {"raters": 1}, "journey": {"picks": 3}})
    assert build({"stop": {"raters": 5}, "journey": {"picks": 3}}).stop.raters == 5

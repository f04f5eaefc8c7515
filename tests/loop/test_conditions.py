"""Conditions: a class per slate, the mix, the prediction and the transmission within each."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from curate_app.report import tables
from curate_app.report.pages import page
from curate_app.report.pictures import Gallery
from data.measurements import CuratedCounts, Measurements
from data.records import Evaluated, Generation
from loop.analysis.log import AnswerFilter
from loop.analysis.report import FitOptions, choice_report
from loop.conditions import StudyConditions
from loop.config import build as build_config
from loop.config import parse
from loop.evaluation import redrawn
from loop.evidence.study import History, analyse, build, read, transmission
from loop.generators import generator_class
from loop.selfcheck.study import self_checks
from loop.simulate import simulate
from loop.study import Study, configure
from loop.training_data import read_curated, rows_of
from model.config import Conditions, NetworkConfig, SamplingConfig, TrainConfig
from model.flow import Flow
from model.interfaces import Samples
from model.training import pair_within

MODES = ("data.modes=3", "data.conditions=classes", "network.kind=resample", "reward.center=[0.0,0.0]",
         "reward.r_min=0", "reward.gamma=4", "curation.k=2", "curation.picks=600", "data.n=600",
         "evaluation.samples=600", "mix.lam=1.0")  # fmt: skip


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory, run) -> Study:
    """Gaussians whose modes are the conditions, copied without learning error for two generations."""
    study = Study.create(tmp_path_factory.mktemp("conditions") / "study", configure("gaussians", MODES, seed=2))
    return run(study, 2)


def declared(*conditions: dict, **data: str) -> StudyConditions | None:
    config = build_config({"data": {"dataset": "digits", **data}, "conditions": list(conditions)})
    return StudyConditions.of(config, [str(digit) for digit in range(10)])


def test_conditions_are_drawn_by_weight_from_the_slates_seed():
    conditions = declared({"name": "3"}, {"name": "a seven", "label": 7, "weight": 3})
    assert conditions is not None and conditions.asked == Conditions(("3", "a seven"), (0.25, 0.75))
    seeds = list(range(4_000))
    drawn = conditions.of_seeds(seeds)
    assert drawn.mean() == pytest.approx(0.75, abs=0.03)
    assert (conditions.of_seeds(seeds[::-1])[::-1] == drawn).all()
    assert conditions.of_labels(np.array([7, 3, 5, 9])).tolist() == [1, 0, -1, -1]
    assert Counter(conditions.allotted(1_001, 5).tolist()) == {0: 250, 1: 751}
    assert (conditions.allotted(50, 5) == conditions.allotted(50, 5)).all()
    assert conditions.of_names(["a seven", "3"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="doesn't name"):
        conditions.of_names([None])


def test_declarations_that_cannot_be_are_refused():
    everything = declared(conditions="classes")
    assert everything is not None and len(everything) == 10 and declared() is None
    with pytest.raises(ValueError, match="go from 0 to 9"):
        declared({"name": "ten", "label": 10})
    with pytest.raises(ValueError, match="differ from each other"):
        declared({"name": "3"}, {"name": "3"})
    with pytest.raises(ValueError, match="use one of them"):
        declared({"name": "3"}, conditions="classes")
    with pytest.raises(ValueError, match="can't draw under conditions"):
        generator_class(build_config({"network": {"kind": "vae"}, "conditions": [{"name": "0"}]}))


def test_study_toml_keeps_its_conditions():
    config = build_config({"conditions": [{"name": "a rose", "weight": 2.0}, {"name": "0", "label": 0}]})
    assert parse(config.to_toml()).conditions == config.conditions


def test_each_condition_comes_up_by_its_weight_whatever_the_rows():
    conditions = StudyConditions(Conditions(("a", "b"), (0.25, 0.75)), (0, 1))
    rows = rows_of(torch.arange(10.0)[:, None], np.array([0] * 8 + [1] * 2), conditions)
    drawn = rows.take(rows.draw_rows(20_000, np.random.default_rng(0)))
    assert drawn.conditions is not None and drawn.conditions.float().mean() == pytest.approx(0.75, abs=0.02)


def test_noise_is_paired_within_conditions_alone():
    rng = torch.Generator().manual_seed(0)
    x0, x1, y = torch.randn(40, 2, generator=rng), torch.randn(40, 2, generator=rng), torch.arange(40) % 3
    paired = pair_within(x0, x1, y, 40)
    for condition in range(3):
        own = y == condition
        assert torch.equal(paired[own].sort(0).values, x1[own].sort(0).values)
        assert (paired[own] - x0[own]).square().sum() < (x1[own] - x0[own]).square().sum()


def test_a_flow_learns_a_law_for_each_condition(tmp_path):
    class Two:
        def draw(self, n: int, rng: np.random.Generator) -> Samples:
            y = rng.integers(2, size=n)
            x = (4.0 * y[:, None] - 2 + 0.3 * rng.standard_normal((n, 2))).astype(np.float32)
            return Samples(torch.from_numpy(x), torch.from_numpy(y))

    train = TrainConfig(pretrain_steps=150, batch_size=128, pair_size=64, ema_decay=0.95, pretrain_lr=4e-3)
    tables = NetworkConfig(width=32, depth=2), train, SamplingConfig(steps=6, batch_size=64)
    flow = Flow.build((2,), *tables, Conditions(("low", "high"), (0.5, 0.5))).fit(Two(), None, 0)
    seeds, y = np.arange(300), np.arange(300) % 2
    x = flow.sample(seeds, y)
    assert x[y == 0].mean() == pytest.approx(-2, abs=0.2) and x[y == 1].mean() == pytest.approx(2, abs=0.2)
    flow.save(tmp_path / "flow.safetensors")
    again = Flow.load(tmp_path / "flow.safetensors", *tables[1:])
    assert torch.equal(again.sample(seeds[250:], y[250:]), x[250:])


def test_class_conditional_unets_and_digits_take_conditions():
    for shape, network in (((1, 8, 8), NetworkConfig(kind="digits", width=16, depth=1)),
                           ((3, 16, 16), NetworkConfig(kind="unet", width=32, depth=1)),
        ((3, 16, 16), NetworkConfig(kind="unet", width=32, depth=1, patch=2))):  # fmt: skip
        sampling = SamplingConfig(steps=1, batch_size=4)
        flow = Flow.build(shape, network, TrainConfig(), sampling, Conditions(tuple("abc"), (0.2, 0.3, 0.5)))
        assert flow.sample(np.arange(3), np.arange(3)).shape == (3, *shape)


def test_the_samples_of_a_slate_share_its_condition(modes: Study):
    rows = list(
        modes.store.rows(
            """SELECT slate.condition, label FROM slate JOIN slate_item ON slate_id = slate.id
            JOIN sample ON sample.id = sample_id"""
        )
    )
    assert len(rows) == 2 * 2 * 600 and all(row["condition"] == f"mode {row['label']}" for row in rows)
    seeds = list(modes.store.rows("SELECT seed, condition FROM slate"))
    assert modes.conditions is not None
    names = [modes.conditions.asked.names[i] for i in modes.conditions.of_seeds([row["seed"] for row in seeds])]
    assert names == [row["condition"] for row in seeds]
    generation = modes.store.generations()[1]
    assert sum(generation.measurements.condition_picks) == 600 and generation.measurements.training


def test_the_prediction_within_a_condition_is_the_pairwise_sum_and_pooled_it_is_the_weighted_mean(modes: Study):
    first, real = modes.store.evaluation(0), modes.store.evaluation(None)
    assert first is not None and real is not None and first.conditions is not None and real.conditions is not None
    evidence, wanted = build(modes), []
    for number, condition in enumerate(evidence.conditions):
        w, w_real = (np.exp(some.rewards[0][some.conditions == number]) for some in (first, real))
        picked = np.mean((w[:, None] ** 2 + w**2) / (w[:, None] + w))
        predicted = condition.generations[1].predicted
        wanted.append((picked + w_real.mean()) / 2)
        assert predicted is not None and predicted.mean_w.value == pytest.approx(wanted[-1], rel=1e-9)
        measured = condition.generations[1]
        assert measured.measured.mean_w.value == pytest.approx(wanted[-1], rel=0.25)
        assert measured.transmission is not None and condition.claims
    pooled = evidence.generations[1]
    assert pooled.predicted is not None and pooled.predicted.mean_w.value == pytest.approx(np.mean(wanted), rel=1e-9)
    assert pooled.predicted_from_start is not None
    assert pooled.predicted_from_start.mean_w.value == pytest.approx(np.mean(wanted), rel=1e-6)


def test_the_report_has_transmission_and_verdicts_within_each_condition_and_pooled(modes: Study):
    evidence = build(modes)
    heads, rows = tables.condition_gains(evidence)
    assert heads[-3:] == ["transmission, t = 1", "transmission, t = 2", "transmission, t = 1 to 2"]
    assert [row[0] for row in rows] == ["mode 0", "mode 1", "mode 2", "all, by weight"]
    assert sum(int(row[2].replace(",", "")) for row in rows[:3]) == int(rows[3][2].replace(",", "")) == 1_200
    pooled = evidence.generations[2].transmission_so_far
    assert pooled is not None and pooled.ratio is not None and rows[3][-1] == tables.with_error(pooled.ratio)
    names, cells = tables.condition_verdicts(evidence)
    assert "transmission" in names and [row["name"] for row in cells] == [row[0] for row in rows]
    html = " ".join(re.sub(r"<[^>]+>", " ", page(evidence, Gallery([]))).split())
    assert "Within each condition All samples of a slate share its condition" in html and "mode 2 33.3%" in html


def test_picks_follow_the_reward_within_each_condition_and_pooled(modes: Study):
    fitted = choice_report(modes.store, modes.config, FitOptions(AnswerFilter(("sim",)), by=("condition",)))
    assert [part.name for part in fitted.parts] == [f"condition mode {i}" for i in range(3)]
    assert sum(part.n for part in fitted.parts) == fitted.fit.n == 1_200
    for fit in (fitted.fit, *(part.fit for part in fitted.parts)):
        assert fit is not None and abs(fit.coefficients[0] - 1) < 3 * fit.se[0]


def verdicts(study: Study, seed: int = 0) -> dict[str, str]:
    """The worst verdict of each check by name, redrawn samples among them."""
    checks = [*self_checks(study.store, study.config), *redrawn(study, np.random.default_rng(seed))]
    order = ("not applicable", "pass", "suspicious", "fail")
    return {check.name: check.verdict for check in sorted(checks, key=lambda check: order.index(check.verdict))}


def test_slates_of_several_conditions_raise_no_alarm(modes: Study):
    assert set(verdicts(modes).values()) == {"pass"} and {"conditions", "redrawn slates"} <= verdicts(modes).keys()


MIXED = {
    "conditions swapped between slates": (
        "UPDATE slate SET condition = CASE condition WHEN 'mode 0' THEN 'mode 1' WHEN 'mode 1' THEN 'mode 0' "
        "ELSE condition END",
        {"conditions", "redrawn slates"},
    ),
    "samples of one condition doubled in reward": (
        "UPDATE sample SET reward = 2 * reward WHERE label = 0", {"fresh draws", "redrawn slates"},
    ),
    "samples of other seeds": ("UPDATE sample SET seed = seed + 1", {"redrawn slates"}),
    "the best picked in one condition": (
        """UPDATE pick SET position = (SELECT position FROM slate_item JOIN sample ON sample.id = sample_id
        WHERE slate_id = pick.slate_id ORDER BY reward DESC LIMIT 1)
        WHERE slate_id IN (SELECT id FROM slate WHERE condition = 'mode 2')""",
        {"scale"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "names"), MIXED.values(), ids=MIXED)
def test_a_fault_under_conditions_is_named(modes: Study, copy_of, statement: str, names: set[str]):
    study = copy_of(modes)
    with study.store.write() as db:
        assert db.conn.execute(statement).rowcount > 0
    found = verdicts(study)
    assert all(found[name] in ("fail", "suspicious") for name in names), found


@pytest.fixture(scope="module")
def infinite(tmp_path_factory: pytest.TempPathFactory, run) -> Study:
    """The same with picks from all samples of a condition (K = inf)."""
    more = "curation.k=inf", "curation.picks=3000", "mix.lam=inf", "evaluation.samples=4000", "reward.gamma=2"
    settings = [*MODES, *more, "data.n=1200"]
    study = Study.create(tmp_path_factory.mktemp("infinite") / "study", configure("gaussians", settings, seed=4))
    return run(study, 1)


def test_picks_from_all_samples_of_a_condition_train_it_and_are_predicted_and_checked(infinite: Study, copy_of):
    rows = list(
        infinite.store.rows(
            """SELECT slate.condition, label, k FROM slate JOIN slate_item ON slate_id = slate.id
            JOIN sample ON sample.id = sample_id"""
        )
    )
    assert len(rows) == 3_000 and all(row["condition"] == f"mode {row['label']}" and not row["k"] for row in rows)
    turn = infinite.store.generations()[1].measurements.turn
    assert turn is not None and infinite.conditions is not None
    curated = read_curated(infinite, turn)
    assert curated.conditions is not None
    part = rows_of(curated.x, curated.conditions, infinite.conditions)
    drawn = part.take(part.draw_rows(9_000, np.random.default_rng(0))).conditions
    assert drawn is not None and np.bincount(drawn.numpy()) / 9_000 == pytest.approx(
        [1 / 3] * 3, abs=0.02
    )  # by weight, however many picks
    first, evidence = infinite.store.evaluation(0), build(infinite)
    assert first is not None and first.conditions is not None
    for number, condition in enumerate(evidence.conditions):
        w = np.exp(first.rewards[0][first.conditions == number])
        row, claims = condition.generations[1], {claim.claim: claim for claim in condition.claims}
        assert row.predicted is not None and row.predicted.mean_w.value == pytest.approx((w**2).mean() / w.mean())
        assert row.transmission is not None and row.transmission.ratio is not None
        assert abs(row.transmission.z) < 3  # the copies learn without error
        assert claims["C1"].verdict in ("holds", "not refuted", "can't tell")
    found = verdicts(infinite)
    assert set(found.values()) <= {"pass", "not applicable"}, found
    assert found["weighed draws"] == found["conditions"] == found["redrawn slates"] == "pass"
    study = copy_of(infinite)
    with study.store.write() as db:  # the likeliest draw of each condition, again and again
        db.conn.execute(
            """UPDATE slate_item SET sample_id = (SELECT sample.id FROM sample JOIN slate_item AS other
            ON other.sample_id = sample.id JOIN slate ON slate.id = other.slate_id WHERE slate.condition =
            (SELECT condition FROM slate WHERE slate.id = slate_item.slate_id) ORDER BY reward DESC LIMIT 1)"""
        )
    assert verdicts(study)["weighed draws"] == "fail"


def test_class_conditional_cifar_starts_trains_is_interrupted_and_goes_on_alike(tmp_path: Path):
    """torchcfm's UNet under classes, for the class asked for as the reward, on a few random pictures a class."""
    rng = np.random.default_rng(0)
    for name in ("airplane", "cat", "ship"):
        (tmp_path / "cifar" / "train" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "cifar" / "train" / name / f"{i}.png")
    settings = [
        f"data.path={tmp_path / 'cifar'}", "data.conditions=classes", "reward.target=condition", "network.width=32",
        "train.pretrain_steps=4", "train.finetune_steps=3", "train.batch_size=8", "train.pair_size=8",
        "classifier.width=4", "classifier.epochs=1", "judge.enabled=false", "sampling.steps=1", "data.size=8",
        "evaluation.samples=100", "curation.picks=12",
    ]  # fmt: skip
    hashes, config = [], configure("cifar10-small", settings, seed=1)
    for name, phases in (("whole", ()), ("interrupted", ("pretraining", "training"))):
        study = Study.create(tmp_path / name, config)
        for phase in phases:

            def stop(at: str, done: int, total: int, phase: str = phase) -> None:
                if at == phase and done:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                simulate(study, 1, stop)
        simulate(study, 1, lambda *_: None)
        generations = study.store.generations()
        hashes.append([row.checkpoint_sha256 for row in generations])
        if not phases:
            assert generations[0].measurements.conditions == ("airplane", "cat", "ship")
            assert sum(generations[1].measurements.condition_picks) == 12
            for row in study.store.rows("""SELECT condition, reward, reward_json FROM sample JOIN slate_item
                    ON sample_id = sample.id JOIN slate ON slate.id = slate_id LIMIT 6"""):  # fmt: skip
                asked = generations[0].measurements.conditions.index(row["condition"])
                assert row["reward"] == pytest.approx(5 * json.loads(row["reward_json"])["probs"][asked], abs=1e-5)
            checks = [*self_checks(study.store, study.config), *redrawn(study, np.random.default_rng(0))]
            assert {check.verdict for check in checks} <= {"pass", "not applicable"}
        study.store.close()
    assert hashes[0] == hashes[1] and len(hashes[0]) == 2


def test_transmission_within_conditions_covers_an_exact_learner():
    """Three conditions with other rewards; the next generation is drawn from the exact law of picks and real data."""
    config = configure("gaussians", [*MODES, "mix.lam=inf"], seed=0)
    weights, shifts, covered = (0.2, 0.3, 0.5), (0.0, 1.0, -0.5), []
    for rep in range(60):
        rng = np.random.default_rng([7, rep])
        y = np.repeat(np.arange(3), [200, 300, 500])

        def law(lift: float, y: np.ndarray = y, rng: np.random.Generator = rng) -> np.ndarray:
            # under exp(r)-tilted pairs of normals the picked one is the larger with the logistic of the gap
            pairs = rng.standard_normal((len(y), 2)) * 0.6
            second = rng.random(len(y)) < 1 / (1 + np.exp(pairs[:, 0] - pairs[:, 1]))
            chosen = np.where(second, pairs[:, 1], pairs[:, 0]) if lift else pairs[:, 0]
            return chosen + np.asarray(shifts)[y]

        names = {"conditions": ("a", "b", "c"), "condition_weights": weights, "class_names": ("0",)}
        facts = Measurements(**names)
        trained = Measurements(**names, condition_picks=(10**7,) * 3, curated=CuratedCounts(sim=3 * 10**7))
        generations = [
            Generation(t, None if not t else 0, "", "", 0, 0 if not t else 3 * 10**7, "", 0, {}, known)
            for t, known in enumerate((facts, trained))
        ]
        samples = [Evaluated(t, law(t)[None], np.zeros(1_000, dtype=np.int32), None, y) for t in range(2)]
        analysis = analyse(History(config, generations, samples, None), quick=True)
        for part in (*analysis.conditions, analysis):
            row = transmission(part, [1])
            covered.append(row.difference.low <= 0 <= row.difference.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_dpo_learns_and_is_predicted_within_each_condition(tmp_path, run):
    settings = ("data.modes=2", "data.conditions=classes", "data.n=600", "reward.center=[0.0,0.0]", "reward.r_min=0",
                "reward.gamma=4", "curation.k=4", "curation.picks=600", "evaluation.samples=600", "mix.lam=inf",
                "learner.kind=luce_dpo", "network.width=32", "train.pretrain_steps=200", "train.finetune_steps=150",
                "sampling.steps=4")  # fmt: skip
    study = run(Study.create(tmp_path / "study", configure("gaussians", settings, seed=2)), 1)
    for part in analyse(read(study.store, study.config)).conditions:
        r = part.history.evaluations[0].rewards[0]
        predicted = part.steps.moments[1]
        assert predicted is not None
        assert predicted.mean_reward[0] == pytest.approx(np.average(r, weights=np.exp(r)), abs=1e-9)
        assert part.own[1].mean_reward[0] > part.own[0].mean_reward[0] + 0.05
    assert {check.verdict for check in self_checks(study.store, study.config)} <= {"pass", "not applicable"}
    study.store.close()

"""The distances from the real images in the report and the status table; older generations have none."""

from pathlib import Path

import pytest

from curate_app.commands.status import print_status
from curate_app.report.charts import divergences, fidelity, frechet, second_opinion
from data.measurements import CuratedCounts, Distances, Divergence, Mean, Measurements
from data.records import Generation
from loop.evidence.schema import Estimate, Evidence, Figures, GenerationEvidence, SecondOpinion
from loop.study import Study, configure

ONE = Estimate.of(1.0)
LAW = Figures(mean_w=ONE, var_w=ONE, mean_reward=ONE, class_shares=[ONE])


def distances(fd: float | None) -> Distances:
    return Distances(
        features="vgg11", fd=fd, kd=-0.001, precision=0.9, recall=0.8, density=1.1, coverage=0.7, n=2_000, n_real=1_797
    )


def generation(t: int, found: Distances | None) -> GenerationEvidence:
    return GenerationEvidence(
        t=t, checkpoint_sha256="", picture_sha256=None, n_evaluated=2_000, n_real=1_797,
        curated=CuratedCounts(), shares_asked=[], shares_achieved=[], measured=LAW, predicted=None,
        predicted_from_start=None, divergence=Divergence(), floors={}, ceilings={}, transmission=None, distances=found,
    )  # fmt: skip


def test_curves_bear_the_name_of_the_features():
    found = [generation(t, distances(0.25 * (t + 1))) for t in range(3)]
    drawn = frechet(found)
    assert drawn is not None and drawn.title.startswith("FD(vgg11)") and drawn.chart.y_label == "FD(vgg11)"
    assert [(point.t, point.value) for point in drawn.chart.lines[0].points] == [(0, 0.25), (1, 0.5), (2, 0.75)]
    assert "2,000 samples and 1,797 real images" in drawn.note
    both = fidelity(found)
    assert both is not None and "precision 0.9, density 1.1, recall 0.8, coverage 0.7" in both.chart.spoken


def test_intervals_are_drawn_where_they_were_measured():
    newer = distances(0.5).model_copy(update={"fd_interval": (0.4, 0.6), "recall_interval": (0.75, 0.84)})
    found = [generation(0, distances(0.25)), generation(1, newer)]
    drawn, both = frechet(found), fidelity(found)
    assert drawn is not None and both is not None and "other samples" in drawn.note
    assert [point.interval for point in drawn.chart.lines[0].points] == [None, (0.4, 0.6)]
    assert both.chart.lines[2].points[1].reach == (0.75, 0.84)


def test_divergences_are_drawn_by_densities_or_over_cells_as_they_were_measured():
    older = {"space": "128 cells", **{key: {"value": 0.2, "se": 0.01} for key in ("kl", "kl_reverse", "tv")}}
    exact = {"n": 2_500, "kl": {"value": 0.3, "se": 0.01}, "kl_reverse": {"value": 0.4, "se": 0.01}}
    newer = {**older, "kl_reverse": None, "empty": 2, "density": None}

    def drawn(*found: dict) -> tuple[list[list[float]], str]:
        measured = [Divergence.model_validate(one) for one in found]
        ts = [generation(t, None).model_copy(update={"divergence": one}) for t, one in enumerate(measured)]
        chart = divergences(Evidence.model_construct(generations=ts, class_names=["a"]))
        assert chart is not None
        return [[point.value for point in line.points] for line in chart.chart.lines], chart.note

    assert drawn(older, older) == ([[0.2, 0.2], [0.2, 0.2]], "Measured on 128 cells, so that both are lower bounds.")
    values, note = drawn(older, newer)
    assert values == [[0.2, 0.2], [0.2]] and "no sample at t = 1" in note
    values, note = drawn({**older, "density": exact}, {**newer, "density": exact})
    assert values == [[0.3, 0.3], [0.4, 0.4]] and "densities of 2,500 samples" in note
    assert drawn(older, {**newer, "density": exact})[0] == [[0.2, 0.2], [0.2]]


def test_what_is_not_known_is_not_drawn():
    older = [generation(0, None), generation(1, None)]
    assert frechet(older) is None and fidelity(older) is None
    mixed = frechet([*older, generation(2, distances(0.5))])
    assert mixed is not None and [point.t for point in mixed.chart.lines[0].points] == [2]
    few = [generation(0, distances(None))]
    assert frechet(few) is None and fidelity(few) is not None


def test_the_status_table_has_the_distance_where_it_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    study = Study.create(tmp_path / "study", configure("digits"))
    older = Measurements(mean_reward=Mean(value=1.0, se=0.1), class_shares=(1.0,), class_names=("0",))

    def published(t: int, measurements: Measurements) -> str:
        parent = t - 1 if t else None
        with study.store.write():
            study.store.publish(
                Generation(t, parent, f"{t}.safetensors", "ab" * 32, 1_797, 0, "mix", measurements=measurements)
            )
        print_status(study, as_json=False)
        return capsys.readouterr().out

    assert "FD" not in published(0, older)
    shown = published(1, older.extended(distances=distances(0.1234567)))
    assert "vgg11" in shown and "0.1235" in shown
    study.store.close()


def test_the_judges_reward_is_drawn_beside_the_classifiers():
    judged = [
        generation(t, None).model_copy(
            update={"judge": SecondOpinion(mean_reward=Estimate.of(0.5 * t, 0.1), class_shares=[1.0], agreement=0.75)}
        )
        for t in range(2)
    ]
    drawn = second_opinion(judged)
    assert drawn is not None and [line.points[-1].value for line in drawn.chart.lines] == [1.0, 0.5]
    assert "agree on the class of 75%" in drawn.chart.spoken
    assert second_opinion([generation(0, None)]) is None

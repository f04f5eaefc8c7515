"""Measurements of a generation as records: their JSON, what older versions wrote, and what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.measurements import (
    CuratedCounts,
    Divergence,
    Mean,
    Measurements,
    ProxyFit,
    TotalVariation,
    Turn,
    read_measurements,
)
from data.records import Generation
from data.store import Store

STORED = {
    "n": 200,
    "mean_reward": {"value": 0.5, "se": 0.01},
    "class_shares": [0.25, 0.75],
    "class_names": ["cat", "dog"],
    "tv_real": {"value": 0.1, "se": 0.01, "low": 0.05, "high": 0.2},
    "judge": None,
    "divergence": {"space": "2 classes", "cells": 2, "empty": 0, "kl": {"value": 0.1, "se": 0.0}, "kl_reverse": None},
    "distances": None,
    "curated": {"asked": 12, "human": 8, "sim": 0, "proxy": 4},
    "turn": {
        "t": 1,
        "after": 0,
        "cut": 8,
        "asked": 12,
        "n_proxy": 4,
        "fit": {"sha256": "ab", "picks": 8, "log_likelihood": -0.5},
        "proxy_session": "p",
        "request": 0,
        "excluded": {"too_fast": 1},
    },
    "proxy": {},
}


def test_what_is_stored_is_read_and_written_as_it_was():
    found = read_measurements(json.dumps(STORED), 1)
    assert json.dumps(found.as_json()) == json.dumps(STORED)
    assert found.mean_reward == Mean(value=0.5, se=0.01) and found.class_names == ("cat", "dog")
    assert found.curated and (found.curated.total, found.curated.of_kind("proxy")) == (12, 4)
    assert found.turn and found.turn.fit.picks == 8 and found.proxy.sha256 is None


def test_a_study_of_another_version_opens():
    found = read_measurements(
        json.dumps({"tv_real": 0.1, "divergence": {"tv": {"value": 0.2, "se": 0.1}}, "new": 1}), 0
    )
    assert found.tv_real == 0.1 and found.mean_w is None and found.turn is None and found.class_shares == ()
    assert found.divergence.tv == TotalVariation(value=0.2, se=0.1) and found.divergence.cells is None
    assert found.as_json() == {"tv_real": 0.1, "divergence": {"tv": {"value": 0.2, "se": 0.1}}}
    assert read_measurements("{}", 0) == Measurements()


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"mean_w": {"value": "high"}}, "mean_w.value"),
        ({"curated": {"human": -1}}, "curated.human"),
        ({"turn": {"t": 1}}, "turn.after"),
        ({"class_shares": [1.0], "class_names": ["a", "b"]}, "1 class shares and 2 class names"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(wrong: dict, place: str):
    with pytest.raises(ValueError, match=rf"generation 3 can't be read: .*{place}"):
        read_measurements(json.dumps(wrong), 3)
    with pytest.raises(ValidationError):
        Measurements.model_validate(wrong)


def test_more_measurements_are_added_to_those_there_are():
    first = Measurements(n=2, judge=None)
    both = first.extended(curated=CuratedCounts(asked=3, sim=3))
    assert both.as_json() == {"n": 2, "judge": None, "curated": {"asked": 3, "sim": 3}} and first.curated is None
    with pytest.raises(ValidationError):
        first.extended(seconds="long")


def test_all_of_a_turn_is_written_and_only_what_was_given_of_the_rest():
    turn = Turn(t=1, after=0, cut=5, asked=5)
    assert turn.as_json() == {
        **{"t": 1, "after": 0, "cut": 5, "asked": 5, "n_proxy": 0, "fit": {}, "proxy_session": None},
        **{"request": 0, "excluded": {}},
    }
    assert Turn.model_validate({**turn.as_json(), "at": "now"}) == turn
    assert ProxyFit().as_json() == Divergence().as_json() == {}


@given(st.floats(), st.floats())
def test_every_number_survives_the_trip_through_the_database(value: float, se: float):
    text = json.dumps(Measurements(mean_w=Mean(value=value, se=se)).as_json())
    found = read_measurements(text, 0).mean_w
    assert found and json.dumps(found.as_json()) == json.dumps({"value": value, "se": se})


def test_the_store_holds_them_under_their_names(store: Store):
    t = max((generation.t for generation in store.generations()), default=-1) + 1
    measurements = Measurements.model_validate(STORED)
    store.publish(Generation(t, None, "x", "y", 1, 0, "", measurements=measurements))
    assert store.generations()[-1].measurements == measurements
    assert json.loads(store.value("SELECT metrics_json FROM generation WHERE t = ?", [t])) == STORED

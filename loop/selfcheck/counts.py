"""Are there as many picks as were asked for and trained on, and does each type of user give its share?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.records import Generation
from data.store import Store
from loop.selfcheck.rule import chi_square, noncentrality
from loop.selfcheck.verdicts import Finding, by_chi_square


def counts(store: Store, generations: Sequence[Generation]) -> list[Finding]:
    """The picks that each generation says it was trained on, against those in the database."""
    kept = {generation.t: generation for generation in generations}
    in_bulk = not store.raters().get("human") and not store.events(kinds=("simulate_requested",))
    return [
        _of_generation(store, generation, kept.get(generation.t - 1), in_bulk)
        for generation in generations
        if generation.metrics.get("curated")
    ]


def shares(picks: Mapping[str, int], declared: Mapping[str, float]) -> Finding:
    """Picks by type of simulated user against the declared shares.

    Args:
        picks: by type.
        declared: shares by type; they add up to 1.
    """
    names = sorted({*picks, *declared})
    observed = np.array([picks.get(name, 0) for name in names])
    p, n = np.array([declared.get(name, 0.0) for name in names]), int(observed.sum())
    compared = f"{n:,} simulated picks counted by the type of user"
    unknown = [name for name in names if picks.get(name) and not declared.get(name)]
    if unknown:
        found, meaning = f"{', '.join(unknown)} is no declared type", "Users picked whom the settings don't name."
        return Finding("rater types", None, n, compared, found, meaning, broken=True)
    covariance = n * (np.diag(p) - np.outer(p, p))
    test = chi_square(observed - n * p, covariance)
    if not test.df:
        return Finding("rater types", None, n, compared, "too few to compare")
    # one type's share grows at the cost of the others in proportion
    units = [
        noncentrality(n * np.where(np.arange(len(p)) == i, 1.0, -p / (1 - share)), covariance)
        for i, share in enumerate(p)
        if 0 < share < 1
    ]
    told = ", ".join(
        f"{name or 'honest'} {o / n:.1%} of {q:.1%}" for name, o, q in zip(names, observed, p, strict=True)
    )
    return Finding(
        "rater types",
        None,
        n,
        compared,
        f"chi-square {test.value:.1f} on {test.df} degrees of freedom; {told}",
        "The types don't give the shares that the settings declare.",
        p=test.p,
        figures={"chi_square": test.value, "df": test.df, "observed": dict(zip(names, observed.tolist(), strict=True))},
        detectable=(
            by_chi_square("share", "a type's share off by {}", lambda size: size**2 * min(units), test.df, most=1.0),
        ),
    )


def _of_generation(store: Store, generation: Generation, parent: Generation | None, in_bulk: bool) -> Finding:
    said: dict[str, int] = generation.metrics["curated"]
    turn = _turn(generation, parent, in_bulk)
    stored = store.stored_picks(turn["after"], turn["cut"], generation.t - 1)
    faults = []
    for kind in ("human", "sim", "proxy"):
        names = (turn["proxy"],) if kind == "proxy" else (None,)
        rows = [row for row in stored if row["kind"] == kind and row["name"] in names]
        most = sum(row["n"] for row in rows)
        least = sum(row["n"] for row in rows if not row["withdrawn"])  # someone may have withdrawn since
        if not least <= said[kind] <= most:
            faults.append(f"{said[kind]:,} {kind} picks trained it and {most:,} are stored")
    total = sum(said[kind] for kind in ("human", "sim", "proxy"))
    if (in_bulk or said["proxy"]) and total != said["asked"]:  # people alone give what they give
        faults.append(f"{said['asked']:,} picks were asked for and {total:,} trained it")
    return Finding(
        "counts",
        generation.t,
        total,
        f"Picks asked for, used ({total:,}) and stored",
        "; ".join(faults) or "they agree",
        "The generation was not trained on the picks that the study holds.",
        broken=bool(faults),
        figures=dict(said),
    )


def _turn(generation: Generation, parent: Generation | None, in_bulk: bool) -> dict[str, Any]:
    """Which picks the generation was trained on; older versions kept only the cuts."""
    after = parent.pick_cut if parent else 0
    if generation.metrics.get("turn"):
        after = generation.metrics["turn"]["after"]
    elif generation.config.get("curation", {}).get("extend") == "accumulate" and not in_bulk:
        after = 0
    fit = generation.metrics.get("proxy") or {}
    return {"after": after, "cut": generation.pick_cut, "proxy": fit.get("sha256")}

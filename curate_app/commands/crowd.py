"""`curate crowd`: a dress rehearsal with simulated raters, through a served study's pages, before anyone is paid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

    from curate_app.bots import Rehearsal
    from loop.study import Study

ENDLESS = 1e6  # from which a number is written as a power of ten


def crowd(
    study: Annotated[Path, typer.Argument(help="The study's folder, which is being served.")],
    url: Annotated[str, typer.Option(help="Where it is served.")] = "http://127.0.0.1:7860",
    raters: Annotated[int, typer.Option(min=1, max=500, help="Simulated raters, who come within a few seconds.")] = 30,
    picks: Annotated[int, typer.Option(min=1, help="Slates that each answers.")] = 40,
    taste: Annotated[
        list[str] | None,
        typer.Option(
            help="What they like, as NAME=WEIGHT; may be given again. NAME: reward, a class, a named number such as "
            "petals or hue@0.62, or of texts a feature of `curate fit`, such as words or share:e. Left out: reward=1."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, help="Median time over a slate.")] = 2.0,
    lapse: Annotated[
        float, typer.Option(min=0, max=1, help="Share of picks made at random; pulls what is fitted toward 0.")
    ] = 0.0,
    fatigue: Annotated[float, typer.Option(min=0, max=1, help="Added to it by the last slate.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Everything random comes from it.")] = 0,
    mixed: Annotated[bool, typer.Option("--mixed", help="Go on though people have picked in this study.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")] = False,
) -> None:
    """Send simulated raters with stated tastes through a served study, and report load, flags and what `fit` recovers.

    Their answers are stored as a person's would be: rehearse on a copy of the study.

    Example: `curate crowd rehearsal --raters 30 --picks 40 --taste hue@0.62=3 --taste petals=1`
    """
    import asyncio
    import json

    from curate_app.bots import Habits, Rehearsal, rehearse
    from curate_app.console import SHORT_S, duration, err, phase_bars
    from data.designs import parse_weights
    from data.store import queries
    from loop.study import Study

    opened = Study.open(study)
    people = sum(row["n"] for row in queries.tally(opened.store) if row["kind"] == "human")
    if people and not mixed:
        raise ValueError(
            f"{people:,} answers of people are in {study}. Rehearse on a copy: serve that, or say --mixed to mix them."
        )
    weights = parse_weights(taste or ["reward=1"])
    utility = UtilityOfImages(opened, weights)
    habits = Habits(picks, seconds, lapse, fatigue)
    about = f"About {duration(habits.expected_s)}: {raters} raters, {picks} slates each, {seconds:g} s a slate."
    began = json_ or habits.expected_s < SHORT_S
    with phase_bars(quiet=json_) as report:

        def on_pick(answers: int) -> None:
            nonlocal began
            if not began:  # the server answers
                err.print(about, markup=False)
            began = True
            report("rehearsing", answers, raters * picks)

        done, stopped = Rehearsal(), False
        try:
            asyncio.run(rehearse(url, opened.config, raters, habits, utility, seed, on_pick, done))
        except KeyboardInterrupt:
            stopped = True
    if stopped:
        err.print("Stopped: this is of the answers so far. Another rehearsal needs a fresh copy, or --mixed.")
    result = summary(opened, done, weights)
    if json_:
        typer.echo(json.dumps(result, indent=1, allow_nan=False))
    else:
        print_summary(result)
    if stopped:
        raise typer.Exit(1)


class UtilityOfImages:
    """The utility of an image that a slate shows, looked up in the study by its content's hash.

    Args:
        study: whose samples are shown.
        weights: by name: reward, classes, named numbers of designs, or features of texts.

    Raises:
        ValueError: a name that this study doesn't know.
    """

    def __init__(self, study: "Study", weights: dict[str, float]):
        from data.designs import weights_on_points
        from loop.analysis.design import TEXT_FEATURES

        self.study, self.weights, self.by_image = study, weights, {}
        family = study.config.data.family
        generations, is_text = study.store.generations(), study.config.data.is_text
        self.classes = list(generations[0].measurements.class_names) if generations and not is_text else []
        rest = {name: weight for name, weight in weights.items() if name != "reward" and name not in self.classes}
        self.column, self.on_texts = "text" if is_text else "image_sha256", {}
        if rest and is_text:
            from loop.scoring import text_features  # torch

            self.on_texts = text_features(rest, study.config)
            rest = {name: weight for name, weight in rest.items() if name not in self.on_texts}
        if rest and family is None:
            known = TEXT_FEATURES if is_text else self.classes
            raise ValueError(f"There is no '{next(iter(rest))}' to like; there are reward, {', '.join(known)}.")
        self.on_points = weights_on_points(family.factors, rest) if family is not None and rest else None
        self.factors = () if family is None else family.factors

    def __call__(self, sha256: str) -> float:
        """The utility of an image by its hash, or of a text; a shuffled one of a check slate has the least."""
        import json

        import numpy as np

        if sha256 not in self.by_image:
            rows = list(
                self.study.store.rows(
                    f"SELECT reward, label, point_json FROM sample WHERE {self.column} = ? LIMIT 1", (sha256,)
                )
            )
            utility = -50.0
            if rows and rows[0]["reward"] is not None:
                row = rows[0]
                utility = self.weights.get("reward", 0.0) * row["reward"]
                if row["label"] is not None and self.classes:
                    utility += self.weights.get(self.classes[row["label"]], 0.0)
                if self.on_texts:
                    tokens = np.array([json.loads(row["point_json"])])
                    utility += sum(self.weights[name] * of([sha256], tokens)[0] for name, of in self.on_texts.items())
                if self.on_points is not None:
                    utility += float(np.array(json.loads(row["point_json"])) @ self.on_points)
            self.by_image[sha256] = utility
        return self.by_image[sha256]


def summary(study: "Study", done: "Rehearsal", weights: dict[str, float]) -> dict[str, Any]:
    """Time, load, losses and flags of a rehearsal, and the stated tastes beside what a fit recovers."""
    import numpy as np

    from loop.raters.quality import count_flags

    rows = study.store.rows(  # not the proxy's picks, which the worker adds
        "SELECT slate_id, outcome, position, worst FROM pick JOIN session ON session.id = pick.session_id "
        "JOIN rater ON rater.id = session.rater_id WHERE undone_at IS NULL AND rater.kind = 'human'"
    )
    stored = {row["slate_id"]: (row["outcome"], row["position"], row["worst"]) for row in rows}
    lost = [slate for slate, answer in done.acknowledged.items() if stored.get(slate) != answer]
    seconds = {
        kind: {"n": len(times), "p50": float(np.median(times)), "p95": float(np.quantile(times, 0.95))}
        for kind, times in done.seconds.items()
    }
    return {
        "elapsed_s": done.elapsed,
        "answers": len(done.acknowledged),
        "answers_per_second": len(done.acknowledged) / done.elapsed,
        "lost": len(lost),
        "stored": len(stored),
        "ends": dict(done.ends),
        "waits": done.waits,
        "faults": dict(done.faults),
        "seconds": seconds,
        "flags": count_flags(study.store, study.config.quality),
        "recovered": recovered(study, weights, done.lapses),
    }


def recovered(study: "Study", weights: dict[str, float], lapses: dict[int, float]) -> list[dict[str, Any]] | str:
    """The stated weight, the fitted one and its 95% interval for each, and of ties log theta; or why not.

    Where bots lapsed, there are also the weight and the interval of a fit that knows how often (`corrected`).

    Args:
        study: the rehearsal's.
        weights: that were stated.
        lapses: probability of a lapse, by slate.
    """
    import math
    from contextlib import suppress

    import numpy as np

    from loop.analysis.design import NotIdentifiedError, design
    from loop.analysis.log import AnswerFilter, read_log
    from loop.analysis.logit import correct_for_lapses, fit
    from loop.analysis.report import FitOptions, sample_details

    features = ("reward",) if "reward" in weights else ("factors",) if study.config.data.family else ("class",)
    if study.config.data.is_text:
        features = tuple(weights)
    counting, corrected = AnswerFilter(), None
    log = read_log(study.store, counting)
    if not len(log.slates):
        return "there are no picks."
    lapse = np.array([lapses.get(int(slate), 0.0) for slate in log.answers["slate"]])
    try:
        columns = design(log, features, sample_details(study.store, study.config, FitOptions(counting), features))
        fitted = fit(log.slates, columns.x, columns.names)
    except NotIdentifiedError as error:
        return str(error)
    if not fitted.names:
        return f"The {features[0]} is the same of all samples of each slate, so no taste can show."
    if lapse.any():
        with suppress(NotIdentifiedError):  # few picks determine the plain fit alone
            corrected = correct_for_lapses(log.slates, columns.x, fitted, lapse)
    stated = stated_weights(study, weights, features[0], fitted.names)
    rows = [
        {"name": name, "stated": float(truth), "fitted": float(value), "low": float(low), "high": float(high)}
        for name, truth, value, (low, high) in zip(
            fitted.names, stated, fitted.coefficients, fitted.intervals(), strict=True
        )
    ]
    if (threshold := fitted.threshold) is not None:
        truth = math.log(study.config.curation.tie_theta)
        figures = {"stated": truth, "fitted": threshold.log_theta, "low": threshold.low, "high": threshold.high}
        rows.append({"name": "log theta of ties", **figures})
    if corrected is not None:
        for row, value, (low, high) in zip(rows, corrected.values, corrected.intervals(), strict=True):
            row["corrected"] = {"fitted": float(value), "low": float(low), "high": float(high)}
    return rows[-1:] + rows[:-1] if threshold is not None else rows


def stated_weights(study: "Study", weights: dict[str, float], feature: str, names: "tuple[str, ...]") -> "np.ndarray":
    """(d,) the weights that were stated, for the columns of a fit; of classes, relative to the one left out."""
    import numpy as np

    from data.designs import coordinate_names, weights_on_points

    family = study.config.data.family
    if study.config.data.is_text:
        return np.array([weights[name] for name in names])
    if feature == "reward":
        return np.array([weights["reward"]])
    if feature == "factors" and family is not None:
        by_name = dict(zip(coordinate_names(family.factors), weights_on_points(family.factors, weights), strict=True))
        return np.array([by_name[name] for name in names])
    classes = study.store.generations()[0].measurements.class_names
    reference = next((name for name in classes if f"class {name}" not in names), "")
    return np.array([weights.get(name.removeprefix("class "), 0.0) - weights.get(reference, 0.0) for name in names])


def print_summary(result: dict[str, Any]) -> None:
    """Prints a rehearsal."""
    from rich.table import Table

    from curate_app.console import out

    ends = ", ".join(f"{n} {state}" for state, n in sorted(result["ends"].items())) or "none"
    out.print(
        f"{result['answers']:,} answers in {result['elapsed_s']:.0f} s ({result['answers_per_second']:.1f} a second); "
        f"{result['lost']} lost. Visits: {ends}. No slate was free {result['waits']} times.",
        highlight=False,
    )
    if result["faults"]:
        faults = ", ".join(f"{n} x {fault}" for fault, n in result["faults"].items())
        out.print(f"Sent again: {faults}", highlight=False)
    table = Table(title="Seconds from a request to its answer", title_justify="left")
    for column in ("request", "n", "median", "95%"):
        table.add_column(column, justify="left" if column == "request" else "right")
    for kind, times in result["seconds"].items():
        table.add_row(kind, f"{times['n']:,}", f"{times['p50']:.3f}", f"{times['p95']:.3f}")
    out.print(table)
    flags = ", ".join(
        f"{flag.replace('_', ' ')} {n['answers']:,} and {n['sessions']:,}" for flag, n in result["flags"].items()
    )
    out.print(f"Flags, of answers and of sessions: {flags}." if flags else "No answer is flagged.", highlight=False)
    if isinstance(result["recovered"], str):
        out.print(f"No fit: {result['recovered']}", highlight=False)
        return
    rows, table = result["recovered"], Table(title="What they like, and what a fit recovers", title_justify="left")
    lapsed = "corrected" in rows[0]
    for column in ("", "stated", "fitted", *(("corrected",) if lapsed else ()), "95% interval", ""):
        table.add_column(column, justify="right" if column else "left")
    inside = 0
    for row in rows:
        last = row.get("corrected", row)
        holds = last["low"] <= row["stated"] <= last["high"]
        inside += holds
        values = (row["stated"], row["fitted"], *((last["fitted"],) if lapsed else ()), last["low"], last["high"])
        *cells, low, high = (f"{value:.2f}" if abs(value) < ENDLESS else f"{value:.0e}" for value in values)
        table.add_row(row["name"], *cells, f"{low} to {high}", "" if holds else "outside")
    out.print(table)
    out.print(
        f"{inside} of {len(rows)} stated values are in their intervals; of 95% intervals 1 in 20 misses by chance.",
        highlight=False,
    )
    if lapsed:
        out.print(
            "Lapses pull what `curate fit` recovers toward 0 (fitted). Corrected is a fit that knows how often these "
            "raters lapse, which nobody knows of people; the intervals are its own.",
            highlight=False,
        )
    else:
        out.print("Lapses and fatigue would pull fitted values toward 0.", highlight=False)

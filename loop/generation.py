"""One turn of Algorithm 1: train the next generation on the mix, measure it, publish it in one transaction."""

import time

from data.records import Generation
from loop.evaluation import Evaluator
from loop.mixing import Mixture
from loop.preparation import Report, load_generator
from loop.study import Study
from loop.turn import Turn, read_curated
from model.interfaces import Generator
from model.noise import derive_seed


def next_generation(study: Study, evaluator: Evaluator, parent: Generator, turn: Turn, report: Report) -> Generator:
    """Trains generation `turn.t` from its parent and publishes it; raters get its slates from that commit on.

    Killed before the commit, nothing of it counts: the same turn trains the same weights again.

    Args:
        study: the study.
        evaluator: its measurements.
        parent: generation `turn.t - 1`.
        turn: the picks to train on.
        report: called with the phase and how far it is.

    Raises:
        ValueError: there are no picks in the turn.
    """
    store, config, t = study.store, study.config, turn.t
    curated = read_curated(study, turn)
    mixture = Mixture(evaluator.real, curated.x, config.mix.lam)
    started = time.monotonic()
    seed = derive_seed(config.seed, t, 0xF17)
    child = parent.fit(mixture, parent, seed, lambda done, total: report("training", done, total))
    trained = time.monotonic()
    report("publishing", 0, 1)
    path = study.checkpoint_path(t)
    sha256 = child.save(path)
    child = load_generator(study, t)
    evaluation = evaluator.of(child, t, curated.x)
    seconds = {"train": round(trained - started, 2), "evaluate": round(time.monotonic() - trained, 2)}
    metrics = {
        **evaluation.metrics,
        "curated": {"asked": turn.asked, **curated.counts},
        "proxy": turn.fit,
        "seconds": seconds,
    }
    with store.write():
        store.add_images([evaluation.picture])
        store.publish(
            Generation(
                t=t,
                parent_t=t - 1,
                checkpoint=path.name,
                checkpoint_sha256=sha256,
                n_real=len(evaluator.real) if mixture.curated_share < 1 else 0,
                n_curated=len(curated.x),
                policy=f"mix lam={config.mix.lam:g}, extend={config.curation.extend}",
                pick_cut=turn.cut,
                config=config.as_json(),
                metrics=metrics,
            )
        )
        store.retire_slates(t)
        store.log("worker", "generation_published", t=t, **metrics["curated"])
    report("publishing", 1, 1)
    return child

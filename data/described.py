"""What the tables and views of study.db hold, column by column; docs/columns.md and `curate browse` show it."""

from data.columns import LONG

ABOUT = {
    "generation": "One row per published generator.",
    "sample": "One row per draw of a generator that stood in a slate.",
    "image": "PNGs of samples that people saw or that trained, by content.",
    "slate": "K samples shown together, or waiting to be.",
    "slate_item": "Which sample stands where in a slate.",
    "rater": "Who picks: people, simulated users, proxies.",
    "session": "One sitting of a rater, and how far it came.",
    "pick": "One answer to a slate; none is ever changed or deleted.",
    "event": "What happened, in order.",
    "status": "What goes on now, by key.",
    "evaluation": "The samples behind a generation's metrics, as packed arrays.",
    "answer": "What raters answered in words.",
    "identity": "Who raters are to their panel; delete the rows once people are paid.",
    "invite": "One-time links, by hash.",
    "exclusion": "Picks that a flag kept out of a generation's training.",
    "drawn_by": "Of a replay alone: the generators of another study that drew the samples of its log.",
    "v_choice_long": "The choice log: one row per answered slate and position. Exports read it.",
    "v_rater": "One row per rater, with what they did.",
    "v_generation": "One row per generation, with the picks of its curation slates.",
}
_FLAGS = "marks as JSON, {flag: true}"
_AT = "when, UTC"
COLUMNS: dict[str, dict[str, str]] = {
    "generation": {
        "t": "0 is the pretrained generator", "parent_t": "the generation it was warm-started from",
        "checkpoint": "file in checkpoints/", "checkpoint_sha256": "hash of that file",
        "n_real": "real data in its training set", "n_curated": "distinct curated samples in its training set",
        "policy": "how they were mixed; 'imported' for a log without generators",
        "pick_cut": "the highest pick used so far", "config_json": "the settings it was made with",
        "metrics_json": "what was measured on fresh samples of it", "created_at": _AT, "published_at": _AT,
    },
    "sample": {
        "id": "the sample", "t": "the generation that drew it", "seed": "its own; it can be drawn again",
        "image_sha256": "its image, where one is kept", "reward": "the study's reward r",
        "label": "class, by the study's classifier", "point_json": "coordinates, of two-dimensional data",
        "reward_json": "more on the reward, such as class probabilities",
        "operative_reward": "by which a simulated user judged it, where that isn't the reward",
    },
    "image": {"sha256": "of the PNG's bytes", "png": "the bytes; empty where an imported log had only the hash"},
    "slate": {
        "id": "the slate", "t": "the generation it was made for",
        "purpose": "curation, audit, attention or practice", "k": "samples; empty: infinitely many",
        "seed": "of the display order", "created_at": _AT, "leased_to": "the session that has it",
        "lease_until": "set while an answer is awaited", "served_at": _AT, "retired_at": "when it left the pool unused",
        "copy_of": "the slate whose samples it shows in another order",
        "answer": "the position that is right, of attention slates",
    },
    "slate_item": {"slate_id": "the slate", "position": "from 0", "sample_id": "the sample"},
    "rater": {
        "id": "the rater", "kind": "human, sim or proxy", "panel": "where the rater came from",
        "panel_rater_id": "a pseudonym; the id itself stands in identity alone",
        "type": "declared type of a simulated user", "created_at": _AT, "alias": "name in an imported log",
    },
    "session": {
        "id": "the session", "rater_id": "whose", "panel_study_id": "the panel's id of the study",
        "panel_session_id": "of sessions before the identity table", "created_at": _AT, "consented_at": _AT,
        "instructed_at": _AT, "understood_at": _AT, "failed_at": "failed the comprehension question, UTC",
        "closed_at": _AT, "finished_at": _AT, "withdrawn_at": "its picks train nothing from then on, UTC",
        "completion_code": "what the rater was given", "user_agent": "the browser", "flags_json": _FLAGS,
        "alias": "name in an imported log",
    },
    "pick": {
        "id": "the answer; ascending in time", "slate_id": "to which slate", "session_id": "by whom",
        "outcome": "pick, none, skip or timeout", "position": "what was picked", "shown_at": _AT, "picked_at": _AT,
        "rt_ms": "time to answer in the browser", "input": "mouse, touch or key", "viewport": "window size",
        "flags_json": _FLAGS, "blur_count": "how often the page lost focus", "server_ms": "time as the server saw it",
    },
    "event": {"id": "ascending", "at": _AT, "actor": "who", "kind": "what", "detail_json": "more on it"},
    "status": {"key": "of what", "value_json": "what it is", "at": "since when, UTC"},
    "evaluation": {
        "id": "the row", "t": "the generation; empty: the real data", "n": "samples",
        "rewards": "float64, the study's and each type's", "labels": "int32", "points": "float32 pairs",
    },
    "answer": {
        "id": "the row", "session_id": "by whom", "question": "comprehension or closing", "attempt": "from 1",
        "text": "the words", "correct": "1 if it is right", "at": _AT,
    },
    "identity": {
        "rater_id": "the rater", "panel": "the panel", "panel_rater_id": "the rater's id there",
        "panel_study_id": "its id of the study", "panel_session_id": "its id of the sitting", "at": _AT,
    },
    "invite": {
        "token_sha256": "hash of the link's token", "created_at": _AT, "rater_id": "who used it", "used_at": _AT,
    },
    "drawn_by": {"t": "the generation", "checkpoint_sha256": "of the checkpoint that drew the samples of its slates"},
    "exclusion": {"t": "the generation", "pick_id": "the pick", "flag": "why"},
    "v_choice_long": {
        **{column.name: column.about for column in LONG if column.name != "study"},
        "rater": "the rater's number in the study; exports put a pseudonym there",
    },
    "v_rater": {
        "rater": "the rater's number in the study", "kind": "human, sim or proxy", "type": "declared type",
        "created_at": _AT, "sessions": "how many", "answers": "how many", "picks": "answers that picked something",
        "finished_at": _AT, "withdrawn_at": _AT, "first_answer_at": _AT, "last_answer_at": _AT,
        "mean_rt_ms": "mean time to answer", "flagged_answers": "answers with a mark",
    },
    "v_generation": {
        "generation": "t", "parent_t": "the one it was warm-started from", "policy": "how its data were mixed",
        "n_real": "real data", "n_curated": "distinct curated samples", "checkpoint_sha256": "hash of its weights",
        "published_at": _AT, "mean_reward": "of fresh samples", "human_picks": "people's, in its curation slates",
        "sim_picks": "simulated users'", "proxy_picks": "proxies'",
    },
}  # fmt: skip

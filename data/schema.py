"""The schema of study.db: its migrations, and what its tables, views and columns hold.

`python -m data.schema` writes docs/columns.md from it; a test holds that file true.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from sqlite_utils import Database, Migrations

Kind = Literal["integer", "number", "boolean", "text", "json"]
ABOUT = {
    "generation": "One row per published generator.",
    "sample": "One row per draw of a generator that stood in a slate.",
    "image": "PNGs of samples that people saw or that trained, by content.",
    "slate": "K samples shown together, or waiting to be.",
    "slate_item": "Which sample stands where in a slate.",
    "rater": "Who picks: people, simulated users, proxies.",
    "session": "One sitting of a rater, and how far it came.",
    "pick": "One answer to a slate. None is ever changed or deleted, but the last may be marked as taken back.",
    "event": "What happened, in order.",
    "status": "What goes on now, by key.",
    "evaluation": "The samples behind a generation's metrics, as packed arrays.",
    "answer": "What raters answered in words.",
    "identity": "Who raters are to their panel; delete the rows once people are paid.",
    "invite": "One-time links, by hash.",
    "exclusion": "Picks that a flag kept out of a generation's training.",
    "tally": "Counts of all answers so far; the transaction of each answer brings them up to date.",
    "drawn_by": "Of a replay alone: the generators of another study that drew the samples of its log.",
    "v_choice_long": "The choice log: one row per answered slate and position. Exports read it.",
    "v_rater": "One row per rater, with what they did.",
    "v_generation": "One row per generation, with the picks of its curation slates.",
}
_FLAGS = "marks as JSON, {flag: true}"
_AT = "when, UTC"
migrations = Migrations("curate")
PAGE = Path(__file__).parents[1] / "docs" / "columns.md"
PAGE_HEAD = """# Tables and columns

The long table of `curate export`, then the views and tables of a study's `study.db`. This file is written from the
schema by `python -m data.schema`; other tools may rely on these names, and columns may be added.
"""
LONG_HEAD = "| column | kind | the same for | |\n|---|---|---|---|\n"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the long table.

    Attributes:
        name: in every format.
        kind: of its values; booleans are 0 or 1, JSON is text that holds a value.
        of_answer: the same at all positions of an answer; the others differ from position to position.
        about: what it holds, as a phrase.
        optional: may be empty.
    """

    name: str
    kind: Kind
    of_answer: bool
    about: str
    optional: bool = False


def _answer(name: str, kind: Kind, about: str, optional: bool = False) -> Column:
    return Column(name, kind, True, about, optional)


def _item(name: str, kind: Kind, about: str, optional: bool = False) -> Column:
    return Column(name, kind, False, about, optional)


LONG = (
    _answer("choice_id", "integer", "the answer; ascending in time"),
    _answer("study", "text", "the study's name"),
    _answer("generation", "integer", "the generation t that the slate was made for"),
    _answer("checkpoint_sha256", "text", "hash of that generation's weights"),
    _answer("slate_id", "integer", "the slate; each has one answer, besides those that were taken back"),
    _answer("slate_seed", "integer", "seed of the slate's display order"),
    _answer("purpose", "text", "curation (trains), audit (compares generations), attention or practice"),
    _answer("k", "integer", "samples in the slate; empty: infinitely many, and the picked one stands alone", True),
    _answer("condition", "text", "what all samples of the slate are of: a class or a prompt, as raters read it", True),
    _item("position", "integer", "place on the rater's screen, from 0"),
    _item("sample_id", "integer", "the sample; the same wherever it is shown again"),
    _item("sample_generation", "integer", "the generation that drew it"),
    _item("sample_seed", "integer", "the seed it was drawn from"),
    _item("image_sha256", "text", "its PNG, by content; empty for points and for images nobody kept", True),
    _item("text", "text", "the text that raters read, of samples that are texts", True),
    _item("point", "json", "its coordinates, of points; of a text its tokens", True),
    _item("label", "integer", "its class, by the study's classifier", True),
    _item("reward", "number", "the study's reward r of it", True),
    _item("operative_reward", "number", "the reward by which this simulated user judged it", True),
    _answer("rater", "text", "pseudonym of who answered: the same within a study, another one in every other study"),
    _answer("rater_kind", "text", "human, sim (a simulated user) or proxy (one fitted to people's picks)"),
    _answer("rater_type", "text", "declared type of a simulated user", True),
    _answer("session", "text", "the sitting in which it was answered"),
    _answer("shown_at", "text", "when the slate came into view, UTC", True),
    _answer("picked_at", "text", "when the answer was stored, UTC"),
    _answer("rt_ms", "integer", "time to answer in the browser, in milliseconds", True),
    _answer("outcome", "text", "pick, none (none of these), skip, timeout or tie (both are as good)"),
    _item("picked", "boolean", "1 at the position that was picked, 0 elsewhere"),
    _item("worst", "boolean", "1 at the position that was picked as the worst, 0 elsewhere"),
    _answer("input", "text", "mouse, touch, key", True),
    _answer("viewport", "text", "window size, width x height", True),
    _answer("flags", "json", "marks on the answer, as {flag: true}"),
    _answer("session_flags", "json", "marks on the session"),
    _answer("server_ms", "integer", "time to answer as the server saw it, in milliseconds", True),
    _answer("blur_count", "integer", "how often the page lost focus", True),
    _answer("copy_of", "integer", "the slate whose samples this one shows again in another order", True),
    _answer("answer", "integer", "the position that is right, of attention slates", True),
    _answer("withdrawn", "boolean", "1 where the session withdrew its consent"),
    _answer("undone", "boolean", "1 where the rater took the answer back: it counts for nothing"),
    _answer("excluded_by", "text", "the flag that kept the pick out of training", True),
)
PANEL = (
    _answer("panel", "text", "the panel that the rater came from", True),
    _answer("panel_rater_id", "text", "the rater's id there", True),
    _answer("panel_study_id", "text", "the panel's id of the study", True),
    _answer("panel_session_id", "text", "the panel's id of the sitting", True),
)


def probabilities(classes: int) -> tuple[Column, ...]:
    """The columns of `--features`: a class probability each."""
    about = "probability that the sample is of class {}, by the study's classifier"
    return tuple(_item(f"prob_{number}", "number", about.format(number), True) for number in range(classes))


NAMES = tuple(column.name for column in LONG)


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
        "label": "class, by the study's classifier", "point_json": "coordinates, of points; of a text its tokens",
        "reward_json": "more on the reward, such as class probabilities",
        "operative_reward": "by which a simulated user judged it, where that isn't the reward",
        "text": "what a rater sees of a text; empty for images and points",
    },
    "image": {"sha256": "of the PNG's bytes", "png": "the bytes; empty where an imported log had only the hash"},
    "slate": {
        "id": "the slate", "t": "the generation it was made for",
        "purpose": "curation, audit, attention or practice", "k": "samples; empty: infinitely many",
        "seed": "of the display order", "created_at": _AT, "leased_to": "the session that has it",
        "lease_until": "set while an answer is awaited", "served_at": _AT, "retired_at": "when it left the pool unused",
        "copy_of": "the slate whose samples it shows in another order",
        "answer": "the position that is right, of attention slates",
        "condition": "a class or a prompt that all its samples share, as raters read it",
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
        "outcome": "pick, none, skip, timeout or tie", "position": "what was picked", "shown_at": _AT, "picked_at": _AT,
        "rt_ms": "time to answer in the browser", "input": "mouse, touch or key", "viewport": "window size",
        "flags_json": _FLAGS, "blur_count": "how often the page lost focus", "server_ms": "time as the server saw it",
        "worst": "what was picked as the worst, of best-and-worst slates",
        "undone_at": "when the rater took it back, UTC; empty: it stands",
    },
    "event": {"id": "ascending", "at": _AT, "actor": "who", "kind": "what", "detail_json": "more on it"},
    "status": {"key": "of what", "value_json": "what it is", "at": "since when, UTC"},
    "evaluation": {
        "id": "the row", "t": "the generation; empty: the real data", "n": "samples",
        "rewards": "float64, the study's and each type's", "labels": "int32", "points": "float32, by sample",
        "conditions": "int32, of each; or empty", "features": "float16, of images: 32 directions of the classifier's",
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
    "tally": {
        "t": "the generation of the slates", "kind": "of the raters", "purpose": "of the slates",
        "outcome": "of the answers", "n": "answers that stand", "undone": "answers taken back",
    },
    "v_choice_long": {
        **{column.name: column.about for column in LONG if column.name != "study"},
        "rater": "the rater's number in the study; exports put a pseudonym there",
    },
    "v_rater": {
        "rater": "the rater's number in the study", "kind": "human, sim or proxy", "type": "declared type",
        "created_at": _AT, "sessions": "how many", "answers": "how many", "picks": "answers that picked something",
        "undone": "answers taken back, which count nowhere else",
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


@migrations()
def m001_study(db: Database) -> None:
    """Generations, samples and slates, and the people who pick."""
    for statement in (
        """CREATE TABLE image (
            sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
            png BLOB NOT NULL
        ) STRICT""",
        """CREATE TABLE generation (
            t INTEGER PRIMARY KEY CHECK (t >= 0),
            parent_t INTEGER REFERENCES generation(t),
            checkpoint TEXT NOT NULL,
            checkpoint_sha256 TEXT NOT NULL,
            n_real INTEGER NOT NULL,
            n_curated INTEGER NOT NULL,
            policy TEXT NOT NULL,
            pick_cut INTEGER NOT NULL DEFAULT 0,
            config_json TEXT NOT NULL,
            metrics_json TEXT NOT NULL DEFAULT '{}',
            created_at TEXT NOT NULL,
            published_at TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE sample (
            id INTEGER PRIMARY KEY,
            t INTEGER NOT NULL REFERENCES generation(t),
            seed INTEGER NOT NULL,
            image_sha256 TEXT REFERENCES image(sha256),
            reward REAL,
            label INTEGER,
            point_json TEXT,
            reward_json TEXT
        ) STRICT""",
        """CREATE TABLE rater (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('human', 'sim', 'proxy')),
            panel TEXT,
            panel_rater_id TEXT,
            type TEXT,
            created_at TEXT NOT NULL,
            UNIQUE (panel, panel_rater_id)
        ) STRICT""",
        """CREATE TABLE session (
            id TEXT PRIMARY KEY,
            rater_id INTEGER NOT NULL REFERENCES rater(id),
            panel_study_id TEXT,
            panel_session_id TEXT,
            created_at TEXT NOT NULL,
            consented_at TEXT,
            finished_at TEXT,
            withdrawn_at TEXT,
            completion_code TEXT,
            user_agent TEXT,
            flags_json TEXT NOT NULL DEFAULT '{}'
        ) STRICT""",
        "CREATE INDEX session_rater ON session(rater_id)",
        """CREATE TABLE slate (
            id INTEGER PRIMARY KEY,
            t INTEGER NOT NULL REFERENCES generation(t),
            purpose TEXT NOT NULL CHECK (purpose IN ('curation', 'audit', 'attention', 'practice')),
            k INTEGER,
            seed INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            leased_to TEXT REFERENCES session(id),
            lease_until TEXT,
            served_at TEXT,
            retired_at TEXT
        ) STRICT""",
        "CREATE INDEX slate_pool ON slate(purpose, t) WHERE leased_to IS NULL AND retired_at IS NULL",
        # lease_until is set only while an answer is awaited, which keeps both indexes small
        "CREATE INDEX slate_open ON slate(leased_to) WHERE lease_until IS NOT NULL",
        "CREATE INDEX slate_lapse ON slate(lease_until) WHERE lease_until IS NOT NULL",
        """CREATE TABLE slate_item (
            slate_id INTEGER NOT NULL REFERENCES slate(id),
            position INTEGER NOT NULL CHECK (position >= 0),
            sample_id INTEGER NOT NULL REFERENCES sample(id),
            PRIMARY KEY (slate_id, position)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE pick (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            slate_id INTEGER NOT NULL UNIQUE REFERENCES slate(id),
            session_id TEXT NOT NULL REFERENCES session(id),
            outcome TEXT NOT NULL CHECK (outcome IN ('pick', 'none', 'skip', 'timeout')),
            position INTEGER CHECK ((outcome = 'pick') = (position IS NOT NULL)),
            shown_at TEXT,
            picked_at TEXT NOT NULL,
            rt_ms INTEGER,
            input TEXT,
            viewport TEXT,
            flags_json TEXT NOT NULL DEFAULT '{}'
        ) STRICT""",
        "CREATE INDEX pick_session ON pick(session_id)",
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            actor TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail_json TEXT NOT NULL DEFAULT '{}'
        ) STRICT""",
        "CREATE INDEX event_kind ON event(kind)",
        """CREATE TABLE status (
            key TEXT PRIMARY KEY,
            value_json TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT""",
    ):
        db.execute(statement)


@migrations()
def m002_evaluation(db: Database) -> None:
    """Rewards by which a slate was judged when they aren't the study's, and the samples behind every measurement."""
    for statement in (
        "ALTER TABLE sample ADD COLUMN operative_reward REAL",
        """CREATE TABLE evaluation (
            id INTEGER PRIMARY KEY,
            t INTEGER REFERENCES generation(t),
            n INTEGER NOT NULL CHECK (n > 0),
            rewards BLOB NOT NULL,
            labels BLOB NOT NULL,
            points BLOB
        ) STRICT""",
        "CREATE UNIQUE INDEX evaluation_of ON evaluation(coalesce(t, -1))",  # NULL: the real data
    ):
        db.execute(statement)


@migrations()
def m003_journey(db: Database) -> None:
    """A rater's way through a session, check slates, answers in words, panel ids and invitations, what didn't train."""
    for statement in (
        "ALTER TABLE session ADD COLUMN instructed_at TEXT",
        "ALTER TABLE session ADD COLUMN understood_at TEXT",
        "ALTER TABLE session ADD COLUMN failed_at TEXT",
        "ALTER TABLE session ADD COLUMN closed_at TEXT",
        "ALTER TABLE pick ADD COLUMN blur_count INTEGER",
        "ALTER TABLE pick ADD COLUMN server_ms INTEGER",
        # a slate with the samples of another one in the order of its own seed; `answer` is the position that is right
        "ALTER TABLE slate ADD COLUMN copy_of INTEGER REFERENCES slate(id)",
        "ALTER TABLE slate ADD COLUMN answer INTEGER",
        "CREATE INDEX slate_copy ON slate(leased_to, copy_of) WHERE copy_of IS NOT NULL",
        """CREATE INDEX slate_template ON slate(purpose, t)
            WHERE purpose IN ('attention', 'practice') AND copy_of IS NULL""",
        """CREATE TABLE answer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id TEXT NOT NULL REFERENCES session(id),
            question TEXT NOT NULL CHECK (question IN ('comprehension', 'closing')),
            attempt INTEGER NOT NULL CHECK (attempt >= 1),
            text TEXT NOT NULL,
            correct INTEGER CHECK (correct IN (0, 1)),
            at TEXT NOT NULL,
            UNIQUE (session_id, question, attempt)
        ) STRICT""",
        # who a rater is to the panel stands here alone; rater.panel_rater_id holds a pseudonym
        """CREATE TABLE identity (
            rater_id INTEGER PRIMARY KEY REFERENCES rater(id),
            panel TEXT NOT NULL,
            panel_rater_id TEXT NOT NULL,
            panel_study_id TEXT,
            panel_session_id TEXT,
            at TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE invite (
            token_sha256 TEXT PRIMARY KEY CHECK (length(token_sha256) = 64),
            created_at TEXT NOT NULL,
            rater_id INTEGER UNIQUE REFERENCES rater(id),
            used_at TEXT
        ) STRICT""",
        """CREATE TABLE exclusion (
            t INTEGER NOT NULL,
            pick_id INTEGER NOT NULL REFERENCES pick(id),
            flag TEXT NOT NULL,
            PRIMARY KEY (t, pick_id)
        ) STRICT, WITHOUT ROWID""",
    ):
        db.execute(statement)


@migrations()
def m004_pseudonyms(db: Database) -> None:
    """Panels' ids of people who came before m003 go to the identity table; a pseudonym stands in their place."""
    known = db.conn.execute(
        """SELECT rater.id, panel, panel_rater_id, panel_study_id, panel_session_id, rater.created_at
        FROM rater LEFT JOIN session ON session.rater_id = rater.id
        WHERE kind = 'human' AND panel IS NOT NULL AND rater.id NOT IN (SELECT rater_id FROM identity)
        ORDER BY session.rowid"""
    ).fetchall()
    for row in known:
        db.conn.execute("INSERT OR IGNORE INTO identity VALUES (?, ?, ?, ?, ?, ?)", row)
        pseudonym = sha256(f"{row[1]}\0{row[2]}".encode()).hexdigest()[:32]
        db.conn.execute("UPDATE rater SET panel_rater_id = ? WHERE id = ?", [pseudonym, row[0]])
        db.conn.execute("UPDATE session SET panel_session_id = NULL WHERE rater_id = ?", [row[0]])


@migrations()
def m005_views(db: Database) -> None:
    """The views that exports and other tools read, and what an imported log calls its raters and sessions."""
    for statement in (
        "ALTER TABLE rater ADD COLUMN alias TEXT",
        "ALTER TABLE session ADD COLUMN alias TEXT",
        """CREATE VIEW v_choice_long AS
            SELECT pick.id AS choice_id, slate.t AS generation, generation.checkpoint_sha256, pick.slate_id,
            slate.seed AS slate_seed, slate.purpose, slate.k, slate_item.position, sample.id AS sample_id,
            sample.t AS sample_generation, sample.seed AS sample_seed, sample.image_sha256,
            sample.point_json AS point, sample.label, sample.reward,
            coalesce(sample.operative_reward, sample.reward) AS operative_reward,
            rater.id AS rater, rater.kind AS rater_kind, rater.type AS rater_type,
            coalesce(session.alias, 's' || session.rowid) AS session, pick.shown_at, pick.picked_at, pick.rt_ms,
            pick.outcome, pick.position IS slate_item.position AS picked, pick.input, pick.viewport,
            pick.flags_json AS flags, session.flags_json AS session_flags, pick.server_ms, pick.blur_count,
            slate.copy_of, slate.answer, session.withdrawn_at IS NOT NULL AS withdrawn, excluded_by
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN generation ON generation.t = slate.t
            LEFT JOIN (SELECT pick_id, min(flag) AS excluded_by FROM exclusion GROUP BY 1) ON pick_id = pick.id
            JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = slate_item.sample_id
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id""",
        """CREATE VIEW v_rater AS
            SELECT rater.id AS rater, rater.kind, rater.type, rater.created_at,
            count(DISTINCT session.id) AS sessions, count(pick.id) AS answers,
            coalesce(sum(pick.outcome = 'pick'), 0) AS picks, max(session.finished_at) AS finished_at,
            max(session.withdrawn_at) AS withdrawn_at, min(pick.picked_at) AS first_answer_at,
            max(pick.picked_at) AS last_answer_at, avg(pick.rt_ms) AS mean_rt_ms,
            coalesce(sum(pick.flags_json != '{}'), 0) AS flagged_answers
            FROM rater LEFT JOIN session ON session.rater_id = rater.id LEFT JOIN pick ON pick.session_id = session.id
            GROUP BY rater.id""",
        """CREATE VIEW v_generation AS
            SELECT generation.t AS generation, parent_t, policy, n_real, n_curated, checkpoint_sha256, published_at,
            json_extract(metrics_json, '$.mean_reward.value') AS mean_reward,
            coalesce(human, 0) AS human_picks, coalesce(sim, 0) AS sim_picks, coalesce(proxy, 0) AS proxy_picks
            FROM generation LEFT JOIN (
                SELECT slate.t AS of_t, sum(rater.kind = 'human') AS human, sum(rater.kind = 'sim') AS sim,
                sum(rater.kind = 'proxy') AS proxy
                FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
                JOIN rater ON rater.id = session.rater_id
                WHERE pick.outcome = 'pick' AND slate.purpose = 'curation' GROUP BY 1
            ) ON of_t = generation.t""",
    ):
        db.execute(statement)


@migrations()
def m006_replays(db: Database) -> None:
    """Adds the checkpoints that drew the samples of a replayed log; the long table names those."""
    for statement in (
        """CREATE TABLE drawn_by (
            t INTEGER PRIMARY KEY CHECK (t >= 0),
            checkpoint_sha256 TEXT NOT NULL
        ) STRICT""",
        "DROP VIEW v_choice_long",
        """CREATE VIEW v_choice_long AS
            SELECT pick.id AS choice_id, slate.t AS generation,
            coalesce(drawn_by.checkpoint_sha256, generation.checkpoint_sha256) AS checkpoint_sha256, pick.slate_id,
            slate.seed AS slate_seed, slate.purpose, slate.k, slate_item.position, sample.id AS sample_id,
            sample.t AS sample_generation, sample.seed AS sample_seed, sample.image_sha256,
            sample.point_json AS point, sample.label, sample.reward,
            coalesce(sample.operative_reward, sample.reward) AS operative_reward,
            rater.id AS rater, rater.kind AS rater_kind, rater.type AS rater_type,
            coalesce(session.alias, 's' || session.rowid) AS session, pick.shown_at, pick.picked_at, pick.rt_ms,
            pick.outcome, pick.position IS slate_item.position AS picked, pick.input, pick.viewport,
            pick.flags_json AS flags, session.flags_json AS session_flags, pick.server_ms, pick.blur_count,
            slate.copy_of, slate.answer, session.withdrawn_at IS NOT NULL AS withdrawn, excluded_by
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN generation ON generation.t = slate.t
            LEFT JOIN drawn_by ON drawn_by.t = slate.t
            LEFT JOIN (SELECT pick_id, min(flag) AS excluded_by FROM exclusion GROUP BY 1) ON pick_id = pick.id
            JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = slate_item.sample_id
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id""",
    ):
        db.execute(statement)


@migrations()
def m007_tally(db: Database) -> None:
    """Counts of all answers, which a trigger brings up to date; indexes of the few that are withdrawn or flagged."""
    for statement in (
        """CREATE TABLE tally (
            t INTEGER NOT NULL,
            kind TEXT NOT NULL,
            purpose TEXT NOT NULL,
            outcome TEXT NOT NULL,
            n INTEGER NOT NULL,
            PRIMARY KEY (t, kind, purpose, outcome)
        ) STRICT, WITHOUT ROWID""",
        """INSERT INTO tally
            SELECT slate.t, rater.kind, slate.purpose, pick.outcome, count(*)
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
            JOIN rater ON rater.id = session.rater_id GROUP BY 1, 2, 3, 4""",
        """CREATE TRIGGER pick_counted AFTER INSERT ON pick BEGIN
            INSERT INTO tally
                SELECT slate.t, rater.kind, slate.purpose, NEW.outcome, 1
                FROM slate, session JOIN rater ON rater.id = session.rater_id
                WHERE slate.id = NEW.slate_id AND session.id = NEW.session_id
                ON CONFLICT DO UPDATE SET n = n + 1;
        END""",
        "CREATE INDEX session_withdrawn ON session(id) WHERE withdrawn_at IS NOT NULL",
        "CREATE INDEX session_flagged ON session(rater_id) WHERE flags_json != '{}'",
        "CREATE INDEX pick_flagged ON pick(id) WHERE flags_json != '{}'",
    ):
        db.execute(statement)


@migrations()
def m008_undo(db: Database) -> None:
    """Answers that are taken back, the position picked as worst, and ties.

    A slate may have several answers, of which one at most stands. The table is built anew, and the one that refers to
    it with it, because foreign keys are on.
    """
    for statement in (
        "DROP VIEW v_choice_long",
        "DROP VIEW v_rater",
        "DROP VIEW v_generation",
        """CREATE TABLE new_pick (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            slate_id INTEGER NOT NULL REFERENCES slate(id),
            session_id TEXT NOT NULL REFERENCES session(id),
            outcome TEXT NOT NULL CHECK (outcome IN ('pick', 'none', 'skip', 'timeout', 'tie')),
            position INTEGER CHECK (outcome = 'tie' OR (outcome = 'pick') = (position IS NOT NULL)),
            shown_at TEXT,
            picked_at TEXT NOT NULL,
            rt_ms INTEGER,
            input TEXT,
            viewport TEXT,
            flags_json TEXT NOT NULL DEFAULT '{}',
            blur_count INTEGER,
            server_ms INTEGER,
            worst INTEGER CHECK (worst IS NULL OR (outcome = 'pick' AND worst >= 0 AND worst != position)),
            undone_at TEXT
        ) STRICT""",
        """INSERT INTO new_pick(id, slate_id, session_id, outcome, position, shown_at, picked_at, rt_ms, input,
            viewport, flags_json, blur_count, server_ms)
            SELECT id, slate_id, session_id, outcome, position, shown_at, picked_at, rt_ms, input, viewport,
            flags_json, blur_count, server_ms FROM pick ORDER BY id""",
        """CREATE TABLE new_exclusion (
            t INTEGER NOT NULL,
            pick_id INTEGER NOT NULL REFERENCES new_pick(id),
            flag TEXT NOT NULL,
            PRIMARY KEY (t, pick_id)
        ) STRICT, WITHOUT ROWID""",
        "INSERT INTO new_exclusion SELECT t, pick_id, flag FROM exclusion",
        "DROP TABLE exclusion",
        "DROP TABLE pick",
        "ALTER TABLE new_pick RENAME TO pick",
        "ALTER TABLE new_exclusion RENAME TO exclusion",
        "CREATE UNIQUE INDEX pick_standing ON pick(slate_id) WHERE undone_at IS NULL",
        "CREATE INDEX pick_undone ON pick(slate_id) WHERE undone_at IS NOT NULL",
        "CREATE INDEX pick_session ON pick(session_id)",
        "CREATE INDEX pick_flagged ON pick(id) WHERE flags_json != '{}'",
        "ALTER TABLE tally ADD COLUMN undone INTEGER NOT NULL DEFAULT 0",
        """CREATE TRIGGER pick_counted AFTER INSERT ON pick BEGIN
            INSERT INTO tally(t, kind, purpose, outcome, n, undone)
                SELECT slate.t, rater.kind, slate.purpose, NEW.outcome, NEW.undone_at IS NULL, NEW.undone_at IS NOT NULL
                FROM slate, session JOIN rater ON rater.id = session.rater_id
                WHERE slate.id = NEW.slate_id AND session.id = NEW.session_id
                ON CONFLICT DO UPDATE SET n = n + excluded.n, undone = undone + excluded.undone;
        END""",
        """CREATE TRIGGER pick_taken_back AFTER UPDATE OF undone_at ON pick BEGIN
            SELECT RAISE(ABORT, 'an answer is taken back once and for good') WHERE OLD.undone_at IS NOT NULL;
            UPDATE tally SET n = n - 1, undone = undone + 1
                WHERE NEW.undone_at IS NOT NULL AND outcome = NEW.outcome
                AND (t, purpose) = (SELECT slate.t, slate.purpose FROM slate WHERE id = NEW.slate_id)
                AND kind = (SELECT rater.kind FROM session JOIN rater ON rater.id = rater_id
                    WHERE session.id = NEW.session_id);
        END""",
        """CREATE VIEW v_choice_long AS
            SELECT pick.id AS choice_id, slate.t AS generation,
            coalesce(drawn_by.checkpoint_sha256, generation.checkpoint_sha256) AS checkpoint_sha256, pick.slate_id,
            slate.seed AS slate_seed, slate.purpose, slate.k, slate_item.position, sample.id AS sample_id,
            sample.t AS sample_generation, sample.seed AS sample_seed, sample.image_sha256,
            sample.point_json AS point, sample.label, sample.reward,
            coalesce(sample.operative_reward, sample.reward) AS operative_reward,
            rater.id AS rater, rater.kind AS rater_kind, rater.type AS rater_type,
            coalesce(session.alias, 's' || session.rowid) AS session, pick.shown_at, pick.picked_at, pick.rt_ms,
            pick.outcome, pick.outcome = 'pick' AND pick.position IS slate_item.position AS picked,
            pick.worst IS slate_item.position AS worst, pick.input, pick.viewport,
            pick.flags_json AS flags, session.flags_json AS session_flags, pick.server_ms, pick.blur_count,
            slate.copy_of, slate.answer, session.withdrawn_at IS NOT NULL AS withdrawn,
            pick.undone_at IS NOT NULL AS undone, excluded_by
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN generation ON generation.t = slate.t
            LEFT JOIN drawn_by ON drawn_by.t = slate.t
            LEFT JOIN (SELECT pick_id, min(flag) AS excluded_by FROM exclusion GROUP BY 1) ON pick_id = pick.id
            JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = slate_item.sample_id
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id""",
        """CREATE VIEW v_rater AS
            SELECT rater.id AS rater, rater.kind, rater.type, rater.created_at,
            count(DISTINCT session.id) AS sessions, count(pick.id) AS answers,
            coalesce(sum(pick.outcome = 'pick'), 0) AS picks, max(session.finished_at) AS finished_at,
            max(session.withdrawn_at) AS withdrawn_at, min(pick.picked_at) AS first_answer_at,
            max(pick.picked_at) AS last_answer_at, avg(pick.rt_ms) AS mean_rt_ms,
            coalesce(sum(pick.flags_json != '{}'), 0) AS flagged_answers,
            (SELECT count(*) FROM pick JOIN session ON session.id = session_id
                WHERE rater_id = rater.id AND undone_at IS NOT NULL) AS undone
            FROM rater LEFT JOIN session ON session.rater_id = rater.id
            LEFT JOIN pick ON pick.session_id = session.id AND pick.undone_at IS NULL
            GROUP BY rater.id""",
        """CREATE VIEW v_generation AS
            SELECT generation.t AS generation, parent_t, policy, n_real, n_curated, checkpoint_sha256, published_at,
            json_extract(metrics_json, '$.mean_reward.value') AS mean_reward,
            coalesce(human, 0) AS human_picks, coalesce(sim, 0) AS sim_picks, coalesce(proxy, 0) AS proxy_picks
            FROM generation LEFT JOIN (
                SELECT slate.t AS of_t, sum(rater.kind = 'human') AS human, sum(rater.kind = 'sim') AS sim,
                sum(rater.kind = 'proxy') AS proxy
                FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
                JOIN rater ON rater.id = session.rater_id
                WHERE pick.outcome = 'pick' AND pick.undone_at IS NULL AND slate.purpose = 'curation' GROUP BY 1
            ) ON of_t = generation.t""",
    ):
        db.execute(statement)


@migrations()
def m009_texts(db: Database) -> None:
    """Samples that are texts, and the condition that the samples of a slate share."""
    for statement in (
        "ALTER TABLE sample ADD COLUMN text TEXT",
        "ALTER TABLE slate ADD COLUMN condition TEXT",
        "DROP VIEW v_choice_long",
        """CREATE VIEW v_choice_long AS
            SELECT pick.id AS choice_id, slate.t AS generation,
            coalesce(drawn_by.checkpoint_sha256, generation.checkpoint_sha256) AS checkpoint_sha256, pick.slate_id,
            slate.seed AS slate_seed, slate.purpose, slate.k, slate.condition, slate_item.position,
            sample.id AS sample_id, sample.t AS sample_generation, sample.seed AS sample_seed, sample.image_sha256,
            sample.text, sample.point_json AS point, sample.label, sample.reward,
            coalesce(sample.operative_reward, sample.reward) AS operative_reward,
            rater.id AS rater, rater.kind AS rater_kind, rater.type AS rater_type,
            coalesce(session.alias, 's' || session.rowid) AS session, pick.shown_at, pick.picked_at, pick.rt_ms,
            pick.outcome, pick.outcome = 'pick' AND pick.position IS slate_item.position AS picked,
            pick.worst IS slate_item.position AS worst, pick.input, pick.viewport,
            pick.flags_json AS flags, session.flags_json AS session_flags, pick.server_ms, pick.blur_count,
            slate.copy_of, slate.answer, session.withdrawn_at IS NOT NULL AS withdrawn,
            pick.undone_at IS NOT NULL AS undone, excluded_by
            FROM pick JOIN slate ON slate.id = pick.slate_id JOIN generation ON generation.t = slate.t
            LEFT JOIN drawn_by ON drawn_by.t = slate.t
            LEFT JOIN (SELECT pick_id, min(flag) AS excluded_by FROM exclusion GROUP BY 1) ON pick_id = pick.id
            JOIN slate_item ON slate_item.slate_id = slate.id JOIN sample ON sample.id = slate_item.sample_id
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id""",
    ):
        db.execute(statement)


@migrations()
def m010_conditions(db: Database) -> None:
    """The conditions under which the samples of an evaluation were drawn."""
    db.execute("ALTER TABLE evaluation ADD COLUMN conditions BLOB")


@migrations()
def m011_features(db: Database) -> None:
    """The features by which the images of an evaluation are compared with those of the generation before."""
    db.execute("ALTER TABLE evaluation ADD COLUMN features BLOB")


def columns_page() -> str:
    """docs/columns.md: the long table, then the views and tables of a new study."""
    db = Database(memory=True)
    migrations.apply(db)
    tables = [name for name in db.table_names() if not name.startswith(("sqlite_", "_sqlite_"))]
    row = "| `{0.name}` | {0.kind} | {1} | {0.about} |\n"
    long, panel = ("".join(row.format(column, "answer" if column.of_answer else "position") for column in columns)
                   for columns in (LONG, PANEL))  # fmt: skip
    parts = [
        PAGE_HEAD,
        "## The long table\n\nOne row per answered slate and position; `--format long-csv` and `long-parquet`.\n",
        LONG_HEAD + long,
        "With `--include-panel-ids` also:\n",
        LONG_HEAD + panel,
    ]
    for name in [*sorted(db.view_names()), *tables]:
        columns = db.execute(f"SELECT name, type FROM pragma_table_info('{name}')").fetchall()
        rows = [f"| `{column}` | {kind.lower()} | {COLUMNS[name][column]} |" for column, kind in columns]
        parts += [f"## {name}\n\n{ABOUT[name]}\n\n| column | type | |\n|---|---|---|\n" + "\n".join(rows) + "\n"]
    db.close()
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(columns_page(), encoding="utf-8")

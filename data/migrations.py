"""The schema of study.db as numbered migrations; add a new one at the end, never change an old one."""

from sqlite_utils import Database, Migrations

migrations = Migrations("curate")


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
        # lease_until is set only while an answer is awaited, so both indexes stay as small as the room is full
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

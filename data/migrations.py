"""The schema of study.db as numbered migrations; add a new one at the end, never change an old one."""

from hashlib import sha256

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
    """Which checkpoints drew the samples of a replayed log; the long table names those."""
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

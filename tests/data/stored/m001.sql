BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'curate','m001_study','2026-11-29 15:10:13.363420+00:00');
CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            actor TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail_json TEXT NOT NULL DEFAULT '{}'
        ) STRICT;
INSERT INTO "event" VALUES(1,'2026-11-20T10:00:00.000Z','worker','started','{}');
CREATE TABLE generation (
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
        ) STRICT;
INSERT INTO "generation" VALUES(0,NULL,'generation-0000.safetensors','abababababababababababababababababababababababababababababababab',10,0,'',0,'{"seed": 1}','{"n": 1}','2026-11-20T10:00:00.000Z','2026-11-20T10:00:00.000Z');
CREATE TABLE image (
            sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
            png BLOB NOT NULL
        ) STRICT;
INSERT INTO "image" VALUES('72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C638C5776106738FF9A7F3153D09B53F7197EEC1570050049E3083AC293BC3C0000000049454E44AE426082');
CREATE TABLE pick (
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
        ) STRICT;
INSERT INTO "pick" VALUES(1,1,'ann','pick',2,'2026-11-20T10:00:03.000Z','2026-11-20T10:00:04.000Z',900,'key','800x600','{"too_fast": true}');
INSERT INTO "pick" VALUES(2,2,'sim-3','pick',0,NULL,'2026-11-20T10:00:04.000Z',NULL,NULL,NULL,'{}');
INSERT INTO "pick" VALUES(3,3,'bob','skip',NULL,'2026-11-20T10:00:04.000Z','2026-11-20T10:00:05.000Z',100,'mouse',NULL,'{}');
CREATE TABLE rater (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('human', 'sim', 'proxy')),
            panel TEXT,
            panel_rater_id TEXT,
            type TEXT,
            created_at TEXT NOT NULL,
            UNIQUE (panel, panel_rater_id)
        ) STRICT;
INSERT INTO "rater" VALUES(1,'human','prolific','5f0c',NULL,'2026-11-20T10:00:01.000Z');
INSERT INTO "rater" VALUES(2,'human',NULL,NULL,NULL,'2026-11-20T10:00:01.000Z');
INSERT INTO "rater" VALUES(3,'sim','curate','luce',NULL,'2026-11-20T10:00:01.000Z');
CREATE TABLE sample (
            id INTEGER PRIMARY KEY,
            t INTEGER NOT NULL REFERENCES generation(t),
            seed INTEGER NOT NULL,
            image_sha256 TEXT REFERENCES image(sha256),
            reward REAL,
            label INTEGER,
            point_json TEXT,
            reward_json TEXT
        ) STRICT;
INSERT INTO "sample" VALUES(1,0,0,'72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',0.0,0,NULL,'{"probs": [0.5, 0.5]}');
INSERT INTO "sample" VALUES(2,0,1,'72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',0.5,1,NULL,'{"probs": [0.5, 0.5]}');
INSERT INTO "sample" VALUES(3,0,2,'72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',1.0,0,NULL,'{"probs": [0.5, 0.5]}');
INSERT INTO "sample" VALUES(4,0,3,NULL,1.5,1,'[0.25, -3.0]','{"probs": [0.5, 0.5]}');
INSERT INTO "sample" VALUES(5,0,4,NULL,2.0,0,'[0.25, -3.0]','{"probs": [0.5, 0.5]}');
INSERT INTO "sample" VALUES(6,0,5,NULL,2.5,1,'[0.25, -3.0]','{"probs": [0.5, 0.5]}');
CREATE TABLE session (
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
        ) STRICT;
INSERT INTO "session" VALUES('ann',1,'study-1','submission-1','2026-11-20T10:00:01.000Z','2026-11-20T10:00:01.000Z','2026-11-20T10:00:05.000Z',NULL,'CODE','Firefox','{"one_position": true}');
INSERT INTO "session" VALUES('bob',2,NULL,NULL,'2026-11-20T10:00:01.000Z',NULL,NULL,'2026-11-20T10:00:06.000Z',NULL,'Chrome','{}');
INSERT INTO "session" VALUES('sim-3',3,NULL,NULL,'2026-11-20T10:00:01.000Z',NULL,NULL,NULL,NULL,NULL,'{}');
CREATE TABLE slate (
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
        ) STRICT;
INSERT INTO "slate" VALUES(1,0,'curation',3,7,'2026-11-20T10:00:02.000Z','ann',NULL,'2026-11-20T10:00:03.000Z',NULL);
INSERT INTO "slate" VALUES(2,0,'curation',2,7,'2026-11-20T10:00:02.000Z','sim-3',NULL,'2026-11-20T10:00:03.000Z',NULL);
INSERT INTO "slate" VALUES(3,0,'audit',1,7,'2026-11-20T10:00:02.000Z','bob',NULL,'2026-11-20T10:00:03.000Z',NULL);
INSERT INTO "slate" VALUES(4,0,'curation',2,7,'2026-11-20T10:00:02.000Z',NULL,NULL,NULL,NULL);
CREATE TABLE slate_item (
            slate_id INTEGER NOT NULL REFERENCES slate(id),
            position INTEGER NOT NULL CHECK (position >= 0),
            sample_id INTEGER NOT NULL REFERENCES sample(id),
            PRIMARY KEY (slate_id, position)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "slate_item" VALUES(1,0,1);
INSERT INTO "slate_item" VALUES(1,1,2);
INSERT INTO "slate_item" VALUES(1,2,3);
INSERT INTO "slate_item" VALUES(2,0,4);
INSERT INTO "slate_item" VALUES(2,1,5);
INSERT INTO "slate_item" VALUES(3,0,6);
INSERT INTO "slate_item" VALUES(4,0,4);
INSERT INTO "slate_item" VALUES(4,1,5);
CREATE TABLE status (
            key TEXT PRIMARY KEY,
            value_json TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
INSERT INTO "status" VALUES('worker','{"phase": "idle"}','2026-11-20T10:00:00.000Z');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX session_rater ON session(rater_id);
CREATE INDEX slate_pool ON slate(purpose, t) WHERE leased_to IS NULL AND retired_at IS NULL;
CREATE INDEX slate_open ON slate(leased_to) WHERE lease_until IS NOT NULL;
CREATE INDEX slate_lapse ON slate(lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX pick_session ON pick(session_id);
CREATE INDEX event_kind ON event(kind);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('pick',3);
INSERT INTO "sqlite_sequence" VALUES('event',1);
COMMIT;

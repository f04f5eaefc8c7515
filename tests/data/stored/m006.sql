BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'curate','m001_study','2026-11-29 15:10:13.123428+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'curate','m002_evaluation','2026-11-29 15:10:13.123839+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'curate','m003_journey','2026-11-29 15:10:13.125174+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'curate','m004_pseudonyms','2026-11-29 15:10:13.125336+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'curate','m005_views','2026-11-29 15:10:13.126142+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'curate','m006_replays','2026-11-29 15:10:13.126456+00:00');
CREATE TABLE answer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session_id TEXT NOT NULL REFERENCES session(id),
            question TEXT NOT NULL CHECK (question IN ('comprehension', 'closing')),
            attempt INTEGER NOT NULL CHECK (attempt >= 1),
            text TEXT NOT NULL,
            correct INTEGER CHECK (correct IN (0, 1)),
            at TEXT NOT NULL,
            UNIQUE (session_id, question, attempt)
        ) STRICT;
INSERT INTO "answer" VALUES(1,'ann','comprehension',1,'yes',1,'2026-11-29T15:10:13.233Z');
INSERT INTO "answer" VALUES(2,'ann','closing',1,'Nice, <b>really</b>.',NULL,'2026-11-29T15:10:13.237Z');
CREATE TABLE drawn_by (
            t INTEGER PRIMARY KEY CHECK (t >= 0),
            checkpoint_sha256 TEXT NOT NULL
        ) STRICT;
INSERT INTO "drawn_by" VALUES(0,'efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef');
CREATE TABLE evaluation (
            id INTEGER PRIMARY KEY,
            t INTEGER REFERENCES generation(t),
            n INTEGER NOT NULL CHECK (n > 0),
            rewards BLOB NOT NULL,
            labels BLOB NOT NULL,
            points BLOB
        ) STRICT;
INSERT INTO "evaluation" VALUES(1,0,2,X'000000000000E03F000000000000F83F',X'0000000001000000',X'000000000000803F0000004000004040');
INSERT INTO "evaluation" VALUES(2,NULL,2,X'000000000000E03F000000000000F83F',X'0000000001000000',NULL);
CREATE TABLE event (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            actor TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail_json TEXT NOT NULL DEFAULT '{}'
        ) STRICT;
INSERT INTO "event" VALUES(1,'2026-11-29T15:10:13.289Z','researcher','paused','{"n": 1}');
CREATE TABLE exclusion (
            t INTEGER NOT NULL,
            pick_id INTEGER NOT NULL REFERENCES pick(id),
            flag TEXT NOT NULL,
            PRIMARY KEY (t, pick_id)
        ) STRICT, WITHOUT ROWID;
INSERT INTO "exclusion" VALUES(1,1,'too_fast');
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
INSERT INTO "generation" VALUES(0,NULL,'generation-0000.safetensors','abababababababababababababababababababababababababababababababab',10,0,'',0,'{"seed": 1}','{"mean_reward": {"value": 0.5, "se": 0.1}, "grid_sha256": "72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73"}','2026-11-29T15:10:13.177Z','2026-11-29T15:10:13.177Z');
INSERT INTO "generation" VALUES(1,0,'generation-0001.safetensors','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd',10,2,'mix lam=1',2,'{"seed": 1}','{"n": 2}','2026-11-29T15:10:13.277Z','2026-11-29T15:10:13.277Z');
CREATE TABLE identity (
            rater_id INTEGER PRIMARY KEY REFERENCES rater(id),
            panel TEXT NOT NULL,
            panel_rater_id TEXT NOT NULL,
            panel_study_id TEXT,
            panel_session_id TEXT,
            at TEXT NOT NULL
        ) STRICT;
INSERT INTO "identity" VALUES(1,'prolific','5f0c','study-1','submission-1','2026-11-29T15:10:13.186Z');
INSERT INTO "identity" VALUES(2,'link','token',NULL,NULL,'2026-11-29T15:10:13.193Z');
CREATE TABLE image (
            sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
            png BLOB NOT NULL
        ) STRICT;
INSERT INTO "image" VALUES('72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C638C5776106738FF9A7F3153D09B53F7197EEC1570050049E3083AC293BC3C0000000049454E44AE426082');
INSERT INTO "image" VALUES('335b2c40afa719901e99232676f1ace66a92034e9b9acea4c9e6918a955092a2',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63D8F1E2AC1FCBC750873D0CB21F9C8419B6A95BB300005BE40780DA664F4E0000000049454E44AE426082');
INSERT INTO "image" VALUES('5cce67e74c0da5f159637b1768c24947fe514c39c95f20192994ca24541a1151',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001C49444154789C63B00EBCA7C362CB14B284E5DA39956B2CDADC81F600402D063E160490A80000000049454E44AE426082');
INSERT INTO "image" VALUES('76e27d747511d448153a1e562c7724e210f4be35af972833ad88227d8b6f469a',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001C49444154789C63AC37B69ECCF4E964BC34D31579B35826A9F57687004757070CD06193060000000049454E44AE426082');
INSERT INTO "image" VALUES('974af0e49a8b6d696d46ad8d47c4d1a2520b2b0fea368c5da450a4c1b33b26af',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63DC7F20F628C37346ED6E26B67DDA2C0CEC2F12DE03004F0007740F9792620000000049454E44AE426082');
INSERT INTO "image" VALUES('a6d8ba5bae2762c9026f7e555ef84a5899e23452b9bb3160b8ee1a467298073f',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63F031677067619C20F29571C303BDB74C3B5E7C0D05003D020801F7EE35290000000049454E44AE426082');
INSERT INTO "image" VALUES('0d3dae7145e257c1e713bacd2400c53699347b63c9492ed4b8fe50dc9f3b54f6',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63F8F0F5590AC3FE1B75B719E4A73EEF65281698C901006FF3096C7BB352C50000000049454E44AE426082');
INSERT INTO "image" VALUES('ae4ab822d6f9deaef56e9c24193c9456e351bdd64b76fa1309fd2573fdf3b67c',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63AC8CFAF385917D8DF8078665EA3B6F30781EF9AE03005ABB090E3C03EB4A0000000049454E44AE426082');
INSERT INTO "image" VALUES('8082f087c68b6b468da8b8878ef41556c69fbf5ae3f1ad8268a8f55b24f6e9b1',X'89504E470D0A1A0A0000000D49484452000000040000000408000000008C9AC1A20000001D49444154789C63E0ABBF2DC660E5FDF30ED317BDF59A8C37A3B2DE02004C210860D277A5440000000049454E44AE426082');
CREATE TABLE invite (
            token_sha256 TEXT PRIMARY KEY CHECK (length(token_sha256) = 64),
            created_at TEXT NOT NULL,
            rater_id INTEGER UNIQUE REFERENCES rater(id),
            used_at TEXT
        ) STRICT;
INSERT INTO "invite" VALUES('3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0','2026-11-29T15:10:13.189Z',2,'2026-11-29T15:10:13.193Z');
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
        , blur_count INTEGER, server_ms INTEGER) STRICT;
INSERT INTO "pick" VALUES(1,1,'ann','pick',1,'2026-11-29T15:10:12.306Z','2026-11-29T15:10:13.206Z',900,'key','800x600','{"too_fast": true}',1,8);
INSERT INTO "pick" VALUES(2,2,'bob','pick',2,'2026-11-29T15:10:12.311Z','2026-11-29T15:10:13.211Z',900,'key','800x600','{}',1,4);
INSERT INTO "pick" VALUES(3,3,'bob','none',NULL,'2026-11-29T15:10:12.321Z','2026-11-29T15:10:13.221Z',900,'key','800x600','{}',1,4);
INSERT INTO "pick" VALUES(4,2593762428739973,'ann','pick',0,'2026-11-29T15:10:13.225Z','2026-11-29T15:10:13.229Z',NULL,NULL,NULL,'{}',NULL,4);
INSERT INTO "pick" VALUES(5,2593762428739974,'sim-3','pick',1,NULL,'2026-11-29T15:10:13.273Z',NULL,NULL,NULL,'{}',NULL,NULL);
INSERT INTO "pick" VALUES(6,2593762428739975,'proxy-4','pick',0,NULL,'2026-11-29T15:10:13.273Z',NULL,NULL,NULL,'{"odd": true}',NULL,NULL);
CREATE TABLE rater (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL CHECK (kind IN ('human', 'sim', 'proxy')),
            panel TEXT,
            panel_rater_id TEXT,
            type TEXT,
            created_at TEXT NOT NULL, alias TEXT,
            UNIQUE (panel, panel_rater_id)
        ) STRICT;
INSERT INTO "rater" VALUES(1,'human','prolific','cc7974b2039e91f8b3e7a2b98f3e158d',NULL,'2026-11-29T15:10:13.185Z',NULL);
INSERT INTO "rater" VALUES(2,'human','link','376229205aae6f9a60b711b2280c64ad',NULL,'2026-11-29T15:10:13.193Z',NULL);
INSERT INTO "rater" VALUES(3,'sim','curate','luce','left','2026-11-29T15:10:13.261Z',NULL);
INSERT INTO "rater" VALUES(4,'proxy','curate','fitted',NULL,'2026-11-29T15:10:13.265Z',NULL);
CREATE TABLE sample (
            id INTEGER PRIMARY KEY,
            t INTEGER NOT NULL REFERENCES generation(t),
            seed INTEGER NOT NULL,
            image_sha256 TEXT REFERENCES image(sha256),
            reward REAL,
            label INTEGER,
            point_json TEXT,
            reward_json TEXT
        , operative_reward REAL) STRICT;
INSERT INTO "sample" VALUES(1,0,0,'72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',0.0,0,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(2,0,1,'335b2c40afa719901e99232676f1ace66a92034e9b9acea4c9e6918a955092a2',0.1,1,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(3,0,2,'5cce67e74c0da5f159637b1768c24947fe514c39c95f20192994ca24541a1151',0.2,2,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(4,0,3,'76e27d747511d448153a1e562c7724e210f4be35af972833ad88227d8b6f469a',3.00000000000000044408e-01,0,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(5,0,4,'974af0e49a8b6d696d46ad8d47c4d1a2520b2b0fea368c5da450a4c1b33b26af',0.4,1,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(6,0,5,'a6d8ba5bae2762c9026f7e555ef84a5899e23452b9bb3160b8ee1a467298073f',0.5,2,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(7,0,6,'0d3dae7145e257c1e713bacd2400c53699347b63c9492ed4b8fe50dc9f3b54f6',6.00000000000000088817e-01,0,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(8,0,7,'ae4ab822d6f9deaef56e9c24193c9456e351bdd64b76fa1309fd2573fdf3b67c',7.00000000000000066613e-01,1,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(9,0,8,'8082f087c68b6b468da8b8878ef41556c69fbf5ae3f1ad8268a8f55b24f6e9b1',0.8,2,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(10,0,0,'72b515face8ad056b4f9f20bd2a6a7beb3b754c228013dab8de9c85dd2d5fd73',0.0,0,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(11,0,1,'335b2c40afa719901e99232676f1ace66a92034e9b9acea4c9e6918a955092a2',0.1,1,NULL,'{"probs": [0.2, 0.3, 0.5]}',NULL);
INSERT INTO "sample" VALUES(12,0,50,NULL,1.5,0,'[0.25, -3.0]',NULL,-1.5);
INSERT INTO "sample" VALUES(13,0,51,NULL,1.5,0,'[0.25, -3.0]',NULL,-1.5);
INSERT INTO "sample" VALUES(14,0,52,NULL,1.5,0,'[0.25, -3.0]',NULL,-1.5);
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
        , instructed_at TEXT, understood_at TEXT, failed_at TEXT, closed_at TEXT, alias TEXT) STRICT;
INSERT INTO "session" VALUES('ann',1,'study-1',NULL,'2026-11-29T15:10:13.185Z','2026-11-29T15:10:13.186Z','2026-11-29T15:10:13.245Z',NULL,'CODE','Firefox','{"one_position": true}',NULL,'2026-11-29T15:10:13.241Z',NULL,NULL,NULL);
INSERT INTO "session" VALUES('bob',2,NULL,NULL,'2026-11-29T15:10:13.193Z','2026-11-29T15:10:13.193Z',NULL,'2026-11-29T15:10:13.249Z',NULL,'Chrome','{}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "session" VALUES('sim-3',3,NULL,NULL,'2026-11-29T15:10:13.261Z',NULL,NULL,NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "session" VALUES('proxy-4',4,NULL,NULL,'2026-11-29T15:10:13.265Z',NULL,NULL,NULL,NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL);
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
        , copy_of INTEGER REFERENCES slate(id), answer INTEGER) STRICT;
INSERT INTO "slate" VALUES(1,0,'curation',3,0,'2026-11-29T15:10:13.179Z','ann',NULL,'2026-11-29T15:10:13.198Z',NULL,NULL,NULL);
INSERT INTO "slate" VALUES(2,0,'curation',3,1,'2026-11-29T15:10:13.179Z','bob',NULL,'2026-11-29T15:10:13.207Z',NULL,NULL,NULL);
INSERT INTO "slate" VALUES(3,0,'curation',3,2,'2026-11-29T15:10:13.179Z','bob',NULL,'2026-11-29T15:10:13.217Z',NULL,NULL,NULL);
INSERT INTO "slate" VALUES(4,0,'attention',2,9,'2026-11-29T15:10:13.181Z',NULL,NULL,NULL,NULL,NULL,1);
INSERT INTO "slate" VALUES(2593762428739973,0,'attention',2,5,'2026-11-29T15:10:13.225Z','ann',NULL,'2026-11-29T15:10:13.225Z',NULL,4,0);
INSERT INTO "slate" VALUES(2593762428739974,0,'curation',2,20,'2026-11-29T15:10:13.268Z','sim-3',NULL,'2026-11-29T15:10:13.268Z',NULL,NULL,NULL);
INSERT INTO "slate" VALUES(2593762428739975,0,'curation',NULL,21,'2026-11-29T15:10:13.268Z','proxy-4',NULL,'2026-11-29T15:10:13.268Z',NULL,NULL,NULL);
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
INSERT INTO "slate_item" VALUES(2,2,6);
INSERT INTO "slate_item" VALUES(3,0,7);
INSERT INTO "slate_item" VALUES(3,1,8);
INSERT INTO "slate_item" VALUES(3,2,9);
INSERT INTO "slate_item" VALUES(4,0,10);
INSERT INTO "slate_item" VALUES(4,1,11);
INSERT INTO "slate_item" VALUES(2593762428739973,0,11);
INSERT INTO "slate_item" VALUES(2593762428739973,1,10);
INSERT INTO "slate_item" VALUES(2593762428739974,0,12);
INSERT INTO "slate_item" VALUES(2593762428739974,1,13);
INSERT INTO "slate_item" VALUES(2593762428739975,0,14);
CREATE TABLE status (
            key TEXT PRIMARY KEY,
            value_json TEXT NOT NULL,
            at TEXT NOT NULL
        ) STRICT;
INSERT INTO "status" VALUES('clock','{"boot": "018ad854-95f3-4b92-b76b-79a7917f4107", "offset": 1795940498.445686}','2026-11-29T15:10:13.198Z');
INSERT INTO "status" VALUES('worker','{"phase": "idle"}','2026-11-29T15:10:13.293Z');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX session_rater ON session(rater_id);
CREATE INDEX slate_pool ON slate(purpose, t) WHERE leased_to IS NULL AND retired_at IS NULL;
CREATE INDEX slate_open ON slate(leased_to) WHERE lease_until IS NOT NULL;
CREATE INDEX slate_lapse ON slate(lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX pick_session ON pick(session_id);
CREATE INDEX event_kind ON event(kind);
CREATE UNIQUE INDEX evaluation_of ON evaluation(coalesce(t, -1));
CREATE INDEX slate_copy ON slate(leased_to, copy_of) WHERE copy_of IS NOT NULL;
CREATE INDEX slate_template ON slate(purpose, t)
            WHERE purpose IN ('attention', 'practice') AND copy_of IS NULL;
CREATE VIEW v_rater AS
            SELECT rater.id AS rater, rater.kind, rater.type, rater.created_at,
            count(DISTINCT session.id) AS sessions, count(pick.id) AS answers,
            coalesce(sum(pick.outcome = 'pick'), 0) AS picks, max(session.finished_at) AS finished_at,
            max(session.withdrawn_at) AS withdrawn_at, min(pick.picked_at) AS first_answer_at,
            max(pick.picked_at) AS last_answer_at, avg(pick.rt_ms) AS mean_rt_ms,
            coalesce(sum(pick.flags_json != '{}'), 0) AS flagged_answers
            FROM rater LEFT JOIN session ON session.rater_id = rater.id LEFT JOIN pick ON pick.session_id = session.id
            GROUP BY rater.id;
CREATE VIEW v_generation AS
            SELECT generation.t AS generation, parent_t, policy, n_real, n_curated, checkpoint_sha256, published_at,
            json_extract(metrics_json, '$.mean_reward.value') AS mean_reward,
            coalesce(human, 0) AS human_picks, coalesce(sim, 0) AS sim_picks, coalesce(proxy, 0) AS proxy_picks
            FROM generation LEFT JOIN (
                SELECT slate.t AS of_t, sum(rater.kind = 'human') AS human, sum(rater.kind = 'sim') AS sim,
                sum(rater.kind = 'proxy') AS proxy
                FROM pick JOIN slate ON slate.id = pick.slate_id JOIN session ON session.id = pick.session_id
                JOIN rater ON rater.id = session.rater_id
                WHERE pick.outcome = 'pick' AND slate.purpose = 'curation' GROUP BY 1
            ) ON of_t = generation.t;
CREATE VIEW v_choice_long AS
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
            JOIN session ON session.id = pick.session_id JOIN rater ON rater.id = session.rater_id;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('pick',6);
INSERT INTO "sqlite_sequence" VALUES('answer',2);
INSERT INTO "sqlite_sequence" VALUES('event',1);
COMMIT;

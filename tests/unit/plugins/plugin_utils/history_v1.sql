-- A history as the first version made it, with one run in it. SQLite and PostgreSQL both take it.
CREATE TABLE version (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE runs (
    id TEXT NOT NULL, change TEXT NOT NULL, plan_digest TEXT NOT NULL, restore_point TEXT NOT NULL, resumes TEXT,
    executed_by TEXT NOT NULL, executed_from TEXT NOT NULL, controller TEXT NOT NULL, machine TEXT NOT NULL,
    pid INTEGER NOT NULL, pid_started TEXT NOT NULL, check_mode BOOLEAN NOT NULL, "limit" TEXT, started TEXT NOT NULL,
    finished TEXT, heartbeat TEXT NOT NULL, outcome TEXT, summary TEXT NOT NULL, notes JSON NOT NULL, PRIMARY KEY (id)
);
CREATE INDEX ix_runs_change ON runs (change);
CREATE INDEX ix_runs_started ON runs (started);
CREATE TABLE locks (
    name TEXT NOT NULL, run TEXT NOT NULL, taken TEXT NOT NULL, PRIMARY KEY (name), FOREIGN KEY (run) REFERENCES runs (id)
);
CREATE TABLE phases (
    run TEXT NOT NULL, host TEXT NOT NULL, "index" INTEGER NOT NULL, step TEXT NOT NULL, phase TEXT NOT NULL,
    role TEXT NOT NULL, status TEXT NOT NULL, changed BOOLEAN NOT NULL, started TEXT NOT NULL, finished TEXT,
    message TEXT NOT NULL, "before" JSON, "after" JSON, PRIMARY KEY (run, host, "index", step),
    FOREIGN KEY (run) REFERENCES runs (id)
);
INSERT INTO version VALUES (1);
INSERT INTO runs VALUES (
    '20261120T101500-C001-77aa', 'C001', 'digest-1', '20261120T101500-C001-77aa', NULL, 'dana', 'dana@ops1', 'ops1', 'boot',
    77, '123', false, '', '2026-11-20T10:15:00.000Z', '2026-11-20T10:16:00.000Z', '2026-11-20T10:16:00.000Z', 'failed',
    'It failed.', '[{"at": "2026-11-20T10:17:00.000Z", "text": "Incident 4711"}]'
);
INSERT INTO phases VALUES (
    '20261120T101500-C001-77aa', 'web1', 3, 'main', '3-git_revert', 'changeops.rollback.git_revert', 'failed', true,
    '2026-11-20T10:15:10.000Z', '2026-11-20T10:15:12.000Z', 'conflict', '{"commit": "4f1c2e9"}', NULL
);

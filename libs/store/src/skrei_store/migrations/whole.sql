-- All migrations, as Alembic writes them for an empty database: `make schema` makes this file.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE audit (
    id BIGSERIAL NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    details TEXT NOT NULL,
    CONSTRAINT pk_audit PRIMARY KEY (id)
);

CREATE TABLE blobs (
    digest TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    data BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_blobs PRIMARY KEY (digest)
);

CREATE TABLE cluster (
    id BOOLEAN DEFAULT true NOT NULL,
    installation_id UUID DEFAULT gen_random_uuid() NOT NULL,
    timeline BIGINT DEFAULT '1' NOT NULL,
    facts_created TEXT DEFAULT '' NOT NULL,
    facts_sequence BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT pk_cluster PRIMARY KEY (id),
    CONSTRAINT ck_cluster_single CHECK (id)
)
 WITH (fillfactor = 10);

CREATE TABLE evaluations (
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    namespace TEXT NOT NULL,
    trigger TEXT NOT NULL,
    comment TEXT DEFAULT '' NOT NULL,
    run_after TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_evaluations PRIMARY KEY (id)
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX ix_evaluations_run_after_id ON evaluations (run_after, id);

CREATE TABLE executions (
    id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    job_version BIGINT NOT NULL,
    namespace TEXT NOT NULL,
    task TEXT NOT NULL,
    partition BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    incarnation BIGINT NOT NULL,
    state TEXT NOT NULL,
    observed TEXT NOT NULL,
    want TEXT NOT NULL,
    revision BIGINT NOT NULL,
    seen_revision BIGINT NOT NULL,
    cpu_milli BIGINT NOT NULL,
    memory_bytes BIGINT NOT NULL,
    disk_bytes BIGINT NOT NULL,
    gpu BIGINT NOT NULL,
    revoked BOOLEAN NOT NULL,
    holds BOOLEAN NOT NULL,
    starts BIGINT NOT NULL,
    changes BIGINT NOT NULL,
    message TEXT NOT NULL,
    reason TEXT NOT NULL,
    evaluation_id TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    modified_at TIMESTAMP WITH TIME ZONE NOT NULL,
    steps TEXT,
    exit_code BIGINT,
    stdout TEXT,
    stderr TEXT,
    stdout_truncated BOOLEAN,
    stderr_truncated BOOLEAN,
    problem_code TEXT,
    problem_message TEXT,
    CONSTRAINT pk_executions PRIMARY KEY (id),
    CONSTRAINT ck_executions_observed CHECK (observed IN ('pending', 'offered', 'staging', 'running', 'publishing', 'unknown', 'completed', 'failed', 'stopped', 'refused', 'lost')),
    CONSTRAINT ck_executions_state CHECK (state IN ('pending', 'offered', 'staging', 'running', 'publishing', 'unknown', 'completed', 'failed', 'stopped', 'refused', 'lost')),
    CONSTRAINT ck_executions_want CHECK (want IN ('run', 'stop', 'forget')),
    CONSTRAINT ck_executions_unit CHECK (partition >= 0 AND attempt >= 1)
)
 WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX ix_executions_held ON executions (node_id) WHERE holds OR state IN ('pending', 'offered', 'staging', 'running', 'publishing', 'unknown');

CREATE INDEX ix_executions_job_id ON executions (job_id);

CREATE UNIQUE INDEX uq_executions_standing ON executions (job_id, job_version, task, partition) WHERE NOT revoked AND state IN ('pending', 'offered', 'staging', 'running', 'publishing');

CREATE TABLE history (
    job_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    job_version BIGINT NOT NULL,
    execution_id TEXT COLLATE "C" NOT NULL,
    topic TEXT NOT NULL,
    message TEXT NOT NULL,
    details TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    node_time TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_history PRIMARY KEY (job_id, seq)
);

CREATE TABLE idempotency (
    namespace TEXT COLLATE "C" NOT NULL,
    caller TEXT COLLATE "C" NOT NULL,
    token TEXT COLLATE "C" NOT NULL,
    digest TEXT NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    evaluation_id TEXT COLLATE "C" NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_idempotency PRIMARY KEY (namespace, caller, token)
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX ix_idempotency_expires_at ON idempotency (expires_at);

CREATE TABLE job_versions (
    job_id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    spec TEXT NOT NULL,
    schema BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT pk_job_versions PRIMARY KEY (job_id, version)
);

CREATE TABLE jobs (
    id TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    type TEXT NOT NULL,
    priority BIGINT NOT NULL,
    count BIGINT NOT NULL,
    state TEXT NOT NULL,
    message TEXT DEFAULT '' NOT NULL,
    details TEXT DEFAULT '{}' NOT NULL,
    version BIGINT DEFAULT '1' NOT NULL,
    generation BIGINT DEFAULT '1' NOT NULL,
    history_seq BIGINT NOT NULL,
    units_total BIGINT NOT NULL,
    units_won BIGINT DEFAULT '0' NOT NULL,
    labels JSONB NOT NULL,
    stop_reason TEXT DEFAULT '' NOT NULL,
    traceparent TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    modified_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_jobs PRIMARY KEY (id),
    CONSTRAINT ck_jobs_completed CHECK (state <> 'Completed' OR units_won = units_total),
    CONSTRAINT ck_jobs_state CHECK (state IN ('Pending', 'Queued', 'Running', 'Completed', 'Failed', 'Stopped')),
    CONSTRAINT ck_jobs_units_won CHECK (units_won BETWEEN 0 AND units_total)
)
 WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX ix_jobs_created_at_id ON jobs (created_at, id);

CREATE INDEX ix_jobs_namespace_created_at_id ON jobs (namespace, created_at, id);

CREATE INDEX ix_jobs_open ON jobs (namespace, state) WHERE state IN ('Pending', 'Queued', 'Running');

CREATE UNIQUE INDEX uq_jobs_namespace_name ON jobs (namespace, name);

CREATE TABLE leases (
    name TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    holder TEXT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_leases PRIMARY KEY (name)
)
 WITH (fillfactor = 10);

CREATE TABLE nodes (
    id TEXT COLLATE "C" NOT NULL,
    info TEXT NOT NULL,
    membership TEXT NOT NULL,
    connection TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    incarnation BIGINT NOT NULL,
    confirmed BIGINT NOT NULL,
    confirmed_by TEXT NOT NULL,
    connected_since TIMESTAMP WITH TIME ZONE,
    disconnected_since TIMESTAMP WITH TIME ZONE,
    error TEXT NOT NULL,
    modified_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_nodes PRIMARY KEY (id),
    CONSTRAINT ck_nodes_connection CHECK (connection IN ('CONNECTED', 'DISCONNECTED')),
    CONSTRAINT ck_nodes_membership CHECK (membership IN ('PENDING', 'APPROVED', 'REJECTED'))
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0, fillfactor = 50);

CREATE TABLE results (
    execution_id TEXT COLLATE "C" NOT NULL,
    job_id TEXT COLLATE "C" NOT NULL,
    job_version BIGINT NOT NULL,
    task TEXT NOT NULL,
    partition BIGINT NOT NULL,
    committed BOOLEAN NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    inline BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stored_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_results PRIMARY KEY (execution_id)
)
 WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX ix_results_inline ON results (created_at) WHERE inline IS NOT NULL;

CREATE INDEX ix_results_stored ON results (created_at) WHERE stored_at IS NOT NULL;

CREATE UNIQUE INDEX uq_results_committed ON results (job_id, job_version, task, partition) WHERE committed;

INSERT INTO cluster DEFAULT VALUES;

ALTER TABLE results ALTER COLUMN inline SET STORAGE EXTERNAL;

ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL;

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING alembic_version.version_num;

-- Running upgrade 0001 -> 0002

ALTER TABLE nodes ADD COLUMN gone TEXT DEFAULT '[]' NOT NULL;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE node_keys (
    node_id TEXT COLLATE "C" NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    joined_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_node_keys PRIMARY KEY (node_id)
);

ALTER TABLE job_versions ADD COLUMN submitter TEXT DEFAULT '' NOT NULL;

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

CREATE TABLE node_events (
    node_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    topic TEXT NOT NULL,
    message TEXT NOT NULL,
    CONSTRAINT pk_node_events PRIMARY KEY (node_id, seq)
);

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

ALTER TABLE executions ADD COLUMN image_digest TEXT;

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

ALTER TABLE results ADD COLUMN staged BOOLEAN DEFAULT false NOT NULL;

ALTER TABLE results ADD COLUMN publisher TEXT DEFAULT '' NOT NULL;

ALTER TABLE results ADD COLUMN place TEXT DEFAULT '' NOT NULL;

CREATE INDEX ix_results_staged ON results (created_at) WHERE staged;

ALTER TABLE executions ADD COLUMN staged BOOLEAN DEFAULT false NOT NULL;

DROP INDEX uq_executions_standing;

CREATE UNIQUE INDEX uq_executions_standing ON executions (job_id, job_version, task, partition) WHERE NOT revoked AND NOT staged AND state IN ('pending', 'offered', 'staging', 'running', 'publishing');

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';

-- Running upgrade 0006 -> 0007

ALTER TABLE jobs ADD COLUMN asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;

UPDATE jobs SET asked_at = created_at;

ALTER TABLE job_versions ADD COLUMN created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL;

UPDATE job_versions v SET created_at = j.created_at FROM jobs j WHERE j.id = v.job_id;

ALTER TABLE job_versions ADD COLUMN state TEXT;

ALTER TABLE job_versions ADD COLUMN message TEXT;

ALTER TABLE job_versions ADD COLUMN details TEXT;

ALTER TABLE job_versions ADD COLUMN ended_at TIMESTAMP WITH TIME ZONE;

ALTER TABLE evaluations ADD COLUMN version BIGINT DEFAULT '0' NOT NULL;

UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';

-- Running upgrade 0007 -> 0008

ALTER TABLE executions ADD COLUMN ports TEXT;

UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';

-- Running upgrade 0008 -> 0009

CREATE INDEX ix_executions_exit_code ON executions (job_id) WHERE exit_code > 0;

UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';

-- Running upgrade 0009 -> 0010

CREATE TABLE targets (
    job_id TEXT COLLATE "C" NOT NULL,
    job_version BIGINT NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    partition BIGINT NOT NULL,
    failed TEXT DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_targets PRIMARY KEY (job_id, job_version, node_id),
    CONSTRAINT uq_targets_job_id_job_version_partition UNIQUE (job_id, job_version, partition)
);

UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';

-- Running upgrade 0010 -> 0011

CREATE TABLE node_intents (
    id BIGSERIAL NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    action TEXT NOT NULL,
    message TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_node_intents PRIMARY KEY (id),
    CONSTRAINT ck_node_intents_action CHECK (action IN ('approve', 'reject', 'delete'))
);

UPDATE alembic_version SET version_num='0011' WHERE alembic_version.version_num = '0010';

-- Running upgrade 0011 -> 0012

ALTER TABLE executions ADD COLUMN ready BOOLEAN;

ALTER TABLE jobs ADD COLUMN good_version BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE jobs ADD COLUMN progress_at TIMESTAMP WITH TIME ZONE;

UPDATE alembic_version SET version_num='0012' WHERE alembic_version.version_num = '0011';

-- Running upgrade 0012 -> 0013

CREATE TABLE revoked_keys (
    key TEXT NOT NULL,
    node_id TEXT COLLATE "C" NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_revoked_keys PRIMARY KEY (key)
);

UPDATE alembic_version SET version_num='0013' WHERE alembic_version.version_num = '0012';

-- Running upgrade 0013 -> 0014

ALTER TABLE node_keys ADD COLUMN former_key TEXT;

UPDATE alembic_version SET version_num='0014' WHERE alembic_version.version_num = '0013';

-- Running upgrade 0014 -> 0015

ALTER TABLE executions ADD COLUMN ready_at TIMESTAMP WITH TIME ZONE;

ALTER TABLE executions ADD COLUMN what_runs TEXT DEFAULT '' NOT NULL;

ALTER TABLE jobs ADD COLUMN progress BIGINT DEFAULT '0' NOT NULL;

ALTER TABLE jobs ADD COLUMN paused BOOLEAN DEFAULT 'false' NOT NULL;

ALTER TABLE jobs ADD COLUMN anew BIGINT DEFAULT '0' NOT NULL;

UPDATE alembic_version SET version_num='0015' WHERE alembic_version.version_num = '0014';

-- Running upgrade 0015 -> 0016

ALTER TABLE node_keys ADD COLUMN ends_at TIMESTAMP WITH TIME ZONE DEFAULT 'infinity' NOT NULL;

ALTER TABLE node_keys ADD COLUMN former_ends_at TIMESTAMP WITH TIME ZONE DEFAULT 'infinity' NOT NULL;

UPDATE alembic_version SET version_num='0016' WHERE alembic_version.version_num = '0015';

-- Running upgrade 0016 -> 0017

ALTER TABLE executions ADD COLUMN data_read TEXT;

UPDATE alembic_version SET version_num='0017' WHERE alembic_version.version_num = '0016';

-- Running upgrade 0017 -> 0018

ALTER TABLE results ADD COLUMN published TEXT;

UPDATE alembic_version SET version_num='0018' WHERE alembic_version.version_num = '0017';

-- Running upgrade 0018 -> 0019

CREATE TABLE manifests (
    job_id TEXT COLLATE "C" NOT NULL,
    job_version BIGINT NOT NULL,
    task TEXT NOT NULL,
    input BIGINT NOT NULL,
    digest TEXT NOT NULL,
    parts BIGINT NOT NULL,
    files BIGINT NOT NULL,
    size_bytes BIGINT NOT NULL,
    CONSTRAINT pk_manifests PRIMARY KEY (job_id, job_version, task, input)
);

UPDATE alembic_version SET version_num='0019' WHERE alembic_version.version_num = '0018';

-- Running upgrade 0019 -> 0020

ALTER TABLE results ADD COLUMN own_bytes BIGINT;

UPDATE alembic_version SET version_num='0020' WHERE alembic_version.version_num = '0019';

-- Running upgrade 0020 -> 0021

ALTER TABLE results ADD COLUMN destination TEXT COLLATE "C" DEFAULT '' NOT NULL;

DROP INDEX ix_results_staged;

CREATE INDEX ix_results_staged ON results (destination, created_at, execution_id) WHERE staged;

UPDATE alembic_version SET version_num='0021' WHERE alembic_version.version_num = '0020';

-- Running upgrade 0021 -> 0022

ALTER TABLE nodes ADD COLUMN intake TEXT DEFAULT 'open' NOT NULL;

ALTER TABLE nodes ADD COLUMN drain_until TIMESTAMP WITH TIME ZONE;

ALTER TABLE nodes ADD COLUMN labels TEXT DEFAULT '{}' NOT NULL;

ALTER TABLE nodes ADD CONSTRAINT ck_nodes_intake CHECK (intake IN ('open', 'cordoned', 'draining'));

ALTER TABLE node_intents ADD COLUMN params TEXT DEFAULT '{}' NOT NULL;

ALTER TABLE node_intents DROP CONSTRAINT ck_node_intents_action;

ALTER TABLE node_intents ADD CONSTRAINT ck_node_intents_action CHECK (action IN ('approve', 'reject', 'delete', 'cordon', 'uncordon', 'drain', 'label'));

ALTER TABLE executions ADD COLUMN leaving BOOLEAN DEFAULT false NOT NULL;

DROP INDEX uq_executions_standing;

CREATE UNIQUE INDEX uq_executions_standing ON executions (job_id, job_version, task, partition) WHERE NOT revoked AND NOT staged AND NOT leaving AND state IN ('pending', 'offered', 'staging', 'running', 'publishing');

UPDATE alembic_version SET version_num='0022' WHERE alembic_version.version_num = '0021';

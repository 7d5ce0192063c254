"""The ledger (schema control), the gates' results (schema quality), and who may read what.

Revision ID: 0001
"""

from alembic import op

revision = "0001"
down_revision = None

DDL = """
create schema control;
create schema quality;
create schema staging;
create schema marts;
create schema lake;

comment on schema control is 'Ledger: deliveries, runs, stages with their accounting, rejected records, releases';
comment on schema quality is 'Gate results and verdicts';
comment on schema staging is 'Consolidated rows that the models read, one partition per hospital';
comment on schema marts is 'The published release: what analysts query';

create table control.delivery (
    hospital_id text not null,
    delivery_id text not null,
    sequence bigint,
    kind text check (kind in ('full', 'delta')),
    contract_version text,
    period_from date,
    period_to date,
    extracted_at timestamptz,
    content_hash text,
    fingerprint text,
    manifest jsonb,
    state text not null check (state in ('received', 'landed', 'blocked')),
    error_code text,
    error text,
    remedy text,
    received_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    run_id text,
    snapshot_id bigint,
    primary key (hospital_id, delivery_id),
    check (state <> 'landed' or (sequence is not null and content_hash is not null and snapshot_id is not null)),
    check (state <> 'blocked' or error_code is not null)
);
comment on table control.delivery is 'One row per delivery received: what it is and where it stands';

create table control.run (
    run_id text primary key,
    dag_id text not null,
    state text not null check (state in ('running', 'success', 'nothing_new', 'failed')),
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    parent_run_id text,
    message text
);
comment on table control.run is 'One row per run of one DAG';

create table control.stage_run (
    run_id text not null references control.run,
    stage text not null,
    token bigint not null,
    state text not null check (state in ('running', 'committed', 'failed', 'fenced')),
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    seconds double precision,
    cpu_seconds double precision,
    peak_memory_bytes bigint,
    rows bigint,
    snapshot_id bigint,
    intent jsonb,
    retryable boolean,
    message text,
    primary key (run_id, stage, token)
);
comment on table control.stage_run is 'One row per attempt of a stage; the highest token alone may commit';
comment on column control.stage_run.intent is
    'What the lake commit changes, written before it: a crash in between is resolved by reading the snapshot back';

create table control.fence (
    stage text primary key,
    token bigint not null
);
comment on table control.fence is 'The newest fencing token of each stage';

create table control.accounting (
    run_id text not null,
    stage text not null,
    token bigint not null,
    hospital_id text not null,
    delivery_id text not null,
    table_name text not null,
    rows_in bigint not null check (rows_in >= 0),
    rows_out bigint not null check (rows_out >= 0),
    rows_quarantined bigint not null check (rows_quarantined >= 0),
    rows_superseded bigint not null check (rows_superseded >= 0),
    rows_unparseable bigint not null check (rows_unparseable >= 0),
    hash_in numeric not null,
    hash_out numeric not null,
    hash_quarantined numeric not null,
    hash_superseded numeric not null,
    hash_unparseable numeric not null,
    primary key (run_id, stage, hospital_id, delivery_id, table_name),
    foreign key (run_id, stage, token) references control.stage_run,
    constraint rows_balance check (rows_in = rows_out + rows_quarantined + rows_superseded + rows_unparseable),
    constraint hashes_balance check (
        hash_in = hash_out + hash_quarantined + hash_superseded + hash_unparseable
    )
);
comment on table control.accounting is
    'Per stage, delivery and table: every record that came in is out, quarantined, superseded or unparseable';

create table control.rejected_record (
    hospital_id text not null,
    delivery_id text not null,
    table_name text not null,
    file text not null,
    record_number bigint not null,
    line_number bigint not null,
    byte_offset bigint not null,
    byte_length bigint not null,
    row_uid_hi bigint not null,
    row_uid_lo bigint not null,
    disposition text not null check (disposition in ('quarantined', 'unparseable')),
    rule_ids text not null,
    columns text not null,
    business_key text,
    sequence bigint not null,
    source_updated_at timestamptz,
    state text not null default 'open'
        check (state in ('open', 'sent_to_hospital', 'corrected', 'replayed', 'waived', 'abandoned')),
    run_id text not null,
    primary key (hospital_id, delivery_id, file, record_number)
);
comment on table control.rejected_record is
    'Where each rejected record stands in landing/, and which rules it broke; never its values';
comment on column control.rejected_record.business_key is 'Key columns after pseudonymisation, joined by |';

create table control.landed_file (
    hospital_id text not null,
    delivery_id text not null,
    table_name text not null,
    key text not null,
    rows bigint not null,
    bytes bigint not null,
    run_id text not null,
    primary key (key)
);
comment on table control.landed_file is 'Parquet files that a landed delivery gave';

create table control.consolidation (
    hospital_id text primary key,
    input_hash text not null,
    content_hash text not null,
    run_id text not null,
    snapshot_id bigint not null,
    updated_at timestamptz not null default now()
);
comment on table control.consolidation is 'What each hospital''s consolidated files were built from';

create table control.load (
    hospital_id text primary key,
    content_hash text not null,
    run_id text not null,
    updated_at timestamptz not null default now()
);
comment on table control.load is 'Which consolidated content each hospital''s staging partition holds';

create table control.unmapped_code (
    hospital_id text not null,
    code_system text not null,
    local_code text not null,
    records bigint not null,
    primary key (hospital_id, code_system, local_code)
);
comment on table control.unmapped_code is 'Local codes without a standard one, with the records that carry them';

create table control.release (
    release_id bigint generated always as identity primary key,
    run_id text not null,
    snapshot_id bigint not null,
    code_version text not null,
    built_at timestamptz not null,
    published_at timestamptz not null default now(),
    state text not null check (state in ('published', 'replaced', 'rolled_back')),
    input_hash text not null,
    archive_schema text
);
comment on table control.release is 'One row per swap of the marts';
create unique index release_one_published on control.release (state) where state = 'published';

create table quality.result (
    run_id text not null,
    stage text not null,
    hospital_id text not null,
    delivery_id text not null,
    table_name text not null,
    rule_id text not null,
    rule_version int not null,
    category text not null,
    severity text not null,
    action text not null,
    status text not null check (status in ('pass', 'fail', 'error', 'not_applicable')),
    rows_checked bigint not null,
    rows_failed bigint not null,
    rows_failed_gx bigint,
    threshold double precision,
    primary key (run_id, stage, hospital_id, delivery_id, table_name, rule_id)
);
comment on table quality.result is
    'One row per rule, delivery and table of a stage run: counts, never values; hospital and delivery * are the totals';
comment on column quality.result.rows_failed_gx is
    'On totals: written rows that break the rule as Great Expectations counts them; must equal the native count';

create table quality.verdict (
    run_id text not null,
    stage text not null,
    hospital_id text not null,
    delivery_id text not null,
    verdict text not null check (verdict in ('pass', 'warn', 'block')),
    reasons text not null default '',
    primary key (run_id, stage, hospital_id, delivery_id)
);
comment on table quality.verdict is 'What a gate decided for a delivery';

revoke all on schema public from public;
grant usage on schema marts to analyst;
alter default privileges in schema marts grant select on tables to analyst;
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

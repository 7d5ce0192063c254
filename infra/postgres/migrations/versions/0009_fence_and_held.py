"""The lake's fence, hospitals set aside, full deliveries that wait for a confirmation.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"

DDL = """
create function control.fence_lake_commit() returns trigger language plpgsql as $$
declare
    said jsonb;
    newest bigint;
begin
    if new.commit_message is null then
        return new;  -- tables and columns of the catalog itself: no stage's commit
    end if;
    said := new.commit_message::jsonb;
    begin
        -- the share lock lasts as long as the lake's transaction: no newer token is drawn between this look and its end
        select token into newest from control.fence where stage = said ->> 'stage' for share;
    exception when serialization_failure then
        newest := null;  -- drawn since this transaction began
    end;
    if newest is null or newest <> (said ->> 'token')::bigint then
        raise exception 'E_FENCED: a newer attempt of stage % has begun', said ->> 'stage';
    end if;
    return new;
end
$$;
comment on function control.fence_lake_commit is
    'Trigger of lake.ducklake_snapshot_changes (estuaire.lake creates it): only the newest attempt of a stage commits';

create table control.set_aside (
    hospital_id text not null,
    stage text not null,
    run_id text not null,
    error_code text not null,
    error text not null,
    remedy text not null,
    since timestamptz not null default now(),
    primary key (hospital_id, stage)
);
comment on table control.set_aside is
    'Hospitals that a stage goes on without, and why: their files or ledger rows cannot be read or written; the others are not stopped';

alter table control.delivery drop constraint delivery_state_check;
alter table control.delivery add constraint delivery_state_check check (state in ('arriving', 'received', 'landed', 'blocked', 'held', 'withdrawn'));
comment on column control.delivery.state is
    'arriving: not complete yet; received: to be landed; landed: in the lake; blocked: refused, see error_code; held: a full delivery that '
    'waits for a confirmation; withdrawn: taken away before it landed. A received one with an error_code could not be landed and is tried '
    'again by the next run';
alter table control.delivery add column ends jsonb;
comment on column control.delivery.ends is
    'Of a full delivery that is or was held: table -> [records that it would end, records that stand in its period]';

create table control.confirmation (
    hospital_id text not null,
    delivery_id text not null,
    content_hash text not null,
    ends jsonb not null,
    confirmed_by text not null check (confirmed_by <> ''),
    reason text not null default '',
    confirmed_at timestamptz not null default now(),
    primary key (hospital_id, delivery_id, content_hash)
);
comment on table control.confirmation is
    'Who confirmed that a full delivery, as its bytes stood, may end as many records as it does';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

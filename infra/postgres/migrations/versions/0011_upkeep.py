"""What upkeep and backups did, and the lock that keeps them apart.

Revision ID: 0011
"""

from alembic import op

revision = "0011"
down_revision = "0010"

DDL = """
create table control.upkeep_lock ();
comment on table control.upkeep_lock is
    'Never holds a row: upkeep and a backup lock it, so that no file of the lake is removed while it is being copied';

create table control.upkeep (
    upkeep_id bigint generated always as identity primary key,
    kind text not null check (kind in ('upkeep', 'backup', 'restore')),
    started_at timestamptz not null,
    ended_at timestamptz not null default clock_timestamp(),
    succeeded boolean not null,
    bytes bigint not null check (bytes >= 0),
    done jsonb not null,
    message text not null
);
comment on table control.upkeep is 'One row per upkeep, backup or restore that ended: what it did, in numbers and in one sentence';
comment on column control.upkeep.bytes is 'Freed by an upkeep; in the backup that was made or restored';
comment on column control.upkeep.done is 'What was done, by part; counts and names of our own, never a patient''s value';
create index upkeep_by_kind on control.upkeep (kind, started_at desc);
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

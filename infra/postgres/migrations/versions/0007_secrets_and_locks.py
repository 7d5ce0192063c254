"""The pseudonym key's fingerprint, locks that no reader can take, and whose a stage's attempt is.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"

DDL = """
create table control.pseudonym_key (
    single boolean primary key default true check (single),
    fingerprint text not null check (fingerprint ~ '^[0-9a-f]{32}$'),
    registered_at timestamptz not null default now()
);
comment on table control.pseudonym_key is
    'Fingerprint of the one key that every pseudonym of this installation was made with; at most one row, never replaced';

create table control.lake_lock ();
comment on table control.lake_lock is
    'Never holds a row: every writer of the lake''s catalog locks it. An advisory lock could be taken by any account that may connect';
create table control.publish_lock ();
comment on table control.publish_lock is 'Never holds a row: a publish or rollback locks it, so that there is one at a time';

alter table control.stage_run add owner text;
comment on column control.stage_run.owner is
    'Process that makes the attempt: boot id, pid and start in clock ticks since boot. Nothing else is it, whatever the clock says';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

"""What the gates of later stages need: a hospital's standing block, and what a stage's audit cost.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"

DDL = """
alter table control.stage_run add column gate_seconds double precision;
comment on column control.stage_run.gate_seconds is 'Of the seconds, those that the stage''s quality gates took';

create table control.consolidation_block (
    hospital_id text primary key,
    input_hash text not null,
    run_id text not null,
    error text not null,
    blocked_at timestamptz not null default now()
);
comment on table control.consolidation_block is
    'Hospitals whose newest consolidation a gate blocked; it stands until the input or the rules change';
comment on table quality.verdict is
    'What a gate decided: landed per delivery, consolidated per hospital (delivery *), conformed and marts for the release '
    '(hospital *) and per hospital';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

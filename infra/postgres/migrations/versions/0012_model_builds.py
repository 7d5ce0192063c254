"""How long each model of a publication took.

Revision ID: 0012
"""

from alembic import op

revision = "0012"
down_revision = "0011"

DDL = """
create table control.model_build (
    run_id text not null,
    stage text not null check (stage = 'publish'),
    token bigint not null,
    kind text not null check (kind in ('model', 'seed')),
    name text not null,
    seconds double precision not null check (seconds >= 0),
    primary key (run_id, stage, token, name),
    foreign key (run_id, stage, token) references control.stage_run on delete cascade
);
comment on table control.model_build is
    'One row per model or seed of a publication that was served: of its last build, if a hospital was held back';
comment on column control.model_build.seconds is 'Of the model alone; several are built at once, so their sum is more than the build took';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

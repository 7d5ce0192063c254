"""What a release was built from, hospital by hospital, so that the next one builds anew only what differs.

Revision ID: 0015
"""

from alembic import op

revision = "0015"
down_revision = "0014"

DDL = """
alter table control.release add column built_from jsonb;
comment on column control.release.built_from is
    'code: hash of the models; hospitals: id -> hash of the rows of its own that were read; rebuilt: hospitals whose rows were computed, the '
    'others'' taken over from the release served before; null: all were computed. Null in a release of before 0015: the next one is built in full';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

"""A delivery may be arriving (not complete yet), and withdrawn (taken away before it landed).

Revision ID: 0008
"""

from alembic import op

revision = "0008"
down_revision = "0007"

DDL = """
alter table control.delivery drop constraint delivery_state_check;
alter table control.delivery add constraint delivery_state_check
check (state in ('arriving', 'received', 'landed', 'blocked', 'withdrawn'));
comment on column control.delivery.state is
    'arriving: not complete yet; received: to be landed; landed: in the lake; blocked: refused, see error_code; withdrawn: taken away '
    'before it landed. A received one with an error_code could not be landed and is tried again by the next run';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

"""The load's account: what the warehouse does not hold, by reason, as a part of the accounting identity.

Revision ID: 0005
"""

from alembic import op

revision = "0005"
down_revision = "0004"

DDL = """
create function control.total(counts jsonb) returns bigint
    language sql immutable strict parallel safe
    return (select coalesce(sum(value::bigint), 0)::bigint from jsonb_each_text(counts));
comment on function control.total(jsonb) is 'Sum of the counts of an object {reason: count}';

alter table control.accounting
    add column rows_not_loaded bigint not null default 0 check (rows_not_loaded >= 0),
    add column hash_not_loaded numeric not null default 0,
    add column not_loaded jsonb not null default '{}',
    drop constraint rows_balance,
    drop constraint hashes_balance,
    add constraint rows_balance check (
        rows_in = rows_out + rows_quarantined + rows_superseded + rows_unparseable + rows_not_loaded
    ),
    add constraint hashes_balance check (
        hash_in = hash_out + hash_quarantined + hash_superseded + hash_unparseable + hash_not_loaded
    ),
    add constraint reasons_balance check (rows_not_loaded = control.total(not_loaded));
comment on table control.accounting is
    'Per stage, delivery and table: every record that came in is out, quarantined, superseded, unparseable, or (load) not loaded';
comment on column control.accounting.not_loaded is
    'Load: consolidated records that stay in the lake, {reason: records}; they add up to rows_not_loaded';
comment on column control.accounting.hash_in is
    'Exact sum over the records: of both halves of row_uid; at load, where staging holds no row_uid, of the record numbers';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

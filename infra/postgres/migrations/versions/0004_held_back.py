"""A release says which content of each hospital it was built from and which hospitals the gates held back; unmapped codes are listed
whatever the verdict, with the columns that bear them.

Revision ID: 0004
"""

from alembic import op

revision = "0004"
down_revision = "0003"

DDL = """
alter table control.release add column contents jsonb;
comment on column control.release.contents is
    'Hospital -> hash of the content (control.load) that the release was built from; a hospital left out is not in it, null is unknown';
alter table control.release add column held_back jsonb not null default '{}';
comment on column control.release.held_back is
    'Hospital -> why gates 3 and 4 did not let its newest content in: refused (its hash), judged_with (hash of models and rules), '
    'serves (hash of its last good content, or null), of_release, reasons by stage';
-- content that came to staging after the release is not what the release was built from
update control.release as r set contents = (
    select coalesce(jsonb_object_agg(l.hospital_id, case when l.updated_at <= r.built_at then l.content_hash end), '{}')
    from control.load as l
) where r.state = 'published';

create table control.kept_content (
    hospital_id text primary key,
    content_hash text not null,
    kept_at timestamptz not null default now()
);
comment on table control.kept_content is
    'Whose rows stand in schema staging_served: the content that the served release was built from, where staging holds a newer one';

alter table control.unmapped_code add column columns jsonb not null default '{}', add column blocked boolean not null default false;
alter table control.unmapped_code drop constraint unmapped_code_pkey, add primary key (hospital_id, code_system, local_code, blocked);
comment on column control.unmapped_code.columns is 'Records by <table>.<column>';
comment on column control.unmapped_code.blocked is 'Of a consolidation that the gate blocked; else of the one in use';
create view control.code_to_map as
select hospital_id, code_system, local_code, records, columns, blocked
from control.unmapped_code as code
where blocked = exists (
    select 1 from control.consolidation_block as block
    where block.hospital_id = code.hospital_id
    and exists (select 1 from control.unmapped_code as other where other.hospital_id = code.hospital_id and other.blocked)
);
comment on view control.code_to_map is
    'The worklist: of a hospital that the gate blocks the codes of its newest consolidation, else of the one in use';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

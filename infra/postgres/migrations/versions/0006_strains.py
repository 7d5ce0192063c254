"""Strains within an episode: the comparison that deduplication by phenotype needs.

History: since 0013 dbt makes it (dbt_project/macros/statistics); nothing is corrected here.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"

DDL = """
create type stats.strain as (resistant integer[], susceptible integer[]);
comment on type stats.strain is 'Drugs that an isolate is R to, and S to; what it was not tested for, or is I to, stands in neither';

create type stats.strains as (is_new boolean, kept stats.strain[]);
comment on type stats.strains is 'Whether the last isolate was a new strain, and every strain kept so far';

create function stats.new_strain_step(state stats.strains, resistant integer[], susceptible integer[]) returns stats.strains
language plpgsql immutable parallel safe as $$
declare
    one stats.strain;
begin
    foreach one in array coalesce(state.kept, '{}') loop
        if not (one.resistant && susceptible or one.susceptible && resistant) then
            state.is_new := false;
            return state;
        end if;
    end loop;
    state.is_new := true;
    state.kept := state.kept || row(resistant, susceptible)::stats.strain;
    return state;
end
$$;
comment on function stats.new_strain_step is
    'A strain is new when it differs, R against S in a drug tested in both, from every strain kept; I is no difference';

create function stats.new_strain_last(state stats.strains) returns boolean
language sql immutable parallel safe as $$ select (state).is_new $$;

create aggregate stats.new_strain(integer[], integer[]) (
    sfunc = stats.new_strain_step, stype = stats.strains, finalfunc = stats.new_strain_last, parallel = safe
);
comment on aggregate stats.new_strain(integer[], integer[]) is
    'As a window function over the isolates of one person, species and episode in order (drugs R, drugs S; empty arrays for none): '
    'whether the current one is a new strain. The first always is';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the models need these functions")

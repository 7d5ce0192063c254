"""An error is kept as fields: code, hospital, delivery, table, file, what, remedy. Its sentence is no longer kept: whoever shows it makes it.

What older versions wrote is taken apart here, once; a text that is no sentence of a typed error becomes ``error_what``, or stays the message
that it was. Put together again (``estuaire.base.errors.fields``) the fields give the sentence that stood here.

Revision ID: 0014
"""

from alembic import op

revision = "0014"
down_revision = "0013"

_COLUMNS = {
    "error_code": "stable code of the error; null: none",
    "error_hospital": "hospital where it was met",
    "error_delivery": "delivery where it was met",
    "error_table": "contract table where it was met",
    "error_file": "file where it was met",
    "error_what": "what is wrong; never a patient''s value",
    "error_remedy": "what to do next",
}
_TABLES = (
    "control.delivery", "control.run", "control.stage_run", "control.consolidation_block", "control.set_aside", "quality.verdict",
)  # fmt: skip
_FILL = "error_hospital = e.hospital, error_delivery = e.delivery, error_table = e.tab, error_file = e.file, error_what = e.what"

PARTS = r"""
-- code, place, what and remedy of a sentence "[E_CODE] delivery h01/d1: file f.csv: what. What to do: remedy."; no row of another text
create function pg_temp.error_of(sentence text) returns table (
    code text, hospital text, delivery text, tab text, file text, what text, remedy text
) language plpgsql immutable as $$
declare
    rest text := sentence;
    place text;
    ends integer;
begin
    code := substring(rest from '^\[(E_[A-Z0-9_]+)\] ');
    if code is null then
        return;
    end if;
    rest := substr(rest, length(code) + 4);
    place := substring(rest from '^delivery (\S+): ');
    if place is not null then
        rest := substr(rest, length('delivery : ') + length(place) + 1);
        hospital := split_part(place, '/', 1);
        delivery := nullif(substr(place, length(hospital) + 2), '');
    end if;
    file := substring(rest from '^file (\S+): ');
    if file is not null then
        rest := substr(rest, length('file : ') + length(file) + 1);
    end if;
    tab := substring(rest from '^table ([a-z_]+): ');
    if tab is not null and file is null then
        rest := substr(rest, length('table : ') + length(tab) + 1);
    else
        tab := null;
    end if;
    ends := position(' What to do: ' in rest);
    if ends > 0 then
        remedy := rtrim(substr(rest, ends + length(' What to do: ')), '.');
        rest := substr(rest, 1, ends - 1);
    end if;
    what := rtrim(rest, '.');
    return next;
end
$$;
"""

FILL = f"""
update control.delivery as d set {_FILL}, error_remedy = coalesce(d.error_remedy, e.remedy)
from control.delivery as old cross join lateral pg_temp.error_of(old.error) as e where old.ctid = d.ctid;
update control.delivery set error_what = error where error_what is null;
alter table control.delivery drop column error;

update control.set_aside as s set {_FILL}
from control.set_aside as old cross join lateral pg_temp.error_of(old.error) as e where old.ctid = s.ctid;
update control.set_aside set error_what = error where error_what is null;
alter table control.set_aside drop column error;

update control.consolidation_block as b set error_code = e.code, error_remedy = e.remedy, {_FILL}
from control.consolidation_block as old cross join lateral pg_temp.error_of(old.error) as e where old.ctid = b.ctid;
update control.consolidation_block set error_what = error where error_what is null;
alter table control.consolidation_block drop column error;

update control.stage_run as s set error_code = e.code, error_remedy = e.remedy, message = null, {_FILL}
from control.stage_run as old cross join lateral pg_temp.error_of(old.message) as e
where old.ctid = s.ctid and s.state in ('failed', 'fenced');

-- "discovery did not finish: [E_...] ...": what the sentence stood behind is the message
update control.run as r set error_code = e.code, error_remedy = e.remedy, {_FILL},
    message = nullif(rtrim(left(r.message, position('[E_' in r.message) - 1), ': '), '')
from control.run as old cross join lateral pg_temp.error_of(substr(old.message, position('[E_' in old.message))) as e
where old.ctid = r.ctid and r.state in ('failed', 'running')
and (starts_with(r.message, '[E_') or r.message ~ '^[a-z; ]+: \\[E_');

update quality.verdict as v set error_code = e.code, error_remedy = e.remedy, reasons = '', {_FILL}
from quality.verdict as old cross join lateral pg_temp.error_of(old.reasons) as e where old.ctid = v.ctid;

alter table quality.result add column decided text check (decided in ('block', 'warn'));
comment on column quality.result.decided is 'What the gate decided for the broken rule; null: nothing';
update quality.result as r set decided = case
    when v.verdict = 'block' and (starts_with(v.reasons, r.rule_id || ': ') or r.action = 'fail') then 'block' else 'warn' end
from quality.verdict as v
where (v.run_id, v.stage, v.hospital_id, v.delivery_id) = (r.run_id, r.stage, r.hospital_id, r.delivery_id)
and r.status in ('fail', 'error') and v.verdict <> 'pass' and position(r.rule_id || ': ' in v.reasons) > 0;
"""


def upgrade() -> None:
    for table in ("control.delivery", "control.set_aside"):
        op.execute(f"alter table {table} rename column remedy to error_remedy")
    op.execute("alter table control.set_aside alter column error drop not null, alter column error_code drop not null, "
               "alter column error_remedy drop not null")  # fmt: skip
    for table in _TABLES:
        for name, comment in _COLUMNS.items():
            op.execute(f"alter table {table} add column if not exists {name} text")
            op.execute(f"comment on column {table}.{name} is '{comment}'")
    op.execute(
        "comment on column control.run.message is 'What is to be said of the run beside its error: counts, notes'"
    )
    op.execute(
        "comment on column quality.verdict.reasons is 'What the rules counted; empty where an error kept them from it'"
    )
    op.execute(PARTS)
    op.execute(FILL)
    op.execute("drop function pg_temp.error_of(text)")


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

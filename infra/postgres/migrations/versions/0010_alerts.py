"""What needs a hand and who was told of it; when a stage last got on.

Revision ID: 0010
"""

from alembic import op

revision = "0010"
down_revision = "0009"

DDL = """
alter table control.stage_run add column noted_at timestamptz;
comment on column control.stage_run.noted_at is
    'When the attempt last finished a piece of work (a file, a hospital, a step, a line of dbt''s log): progress, not liveness';

create table control.alert (
    alert_id bigint generated always as identity primary key,
    kind text not null,
    subject text not null,
    severity text not null check (severity in ('error', 'warning')),
    since timestamptz not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    told_at timestamptz,
    resolved_at timestamptz,
    what text not null,
    remedy text not null,
    link text not null
);
comment on table control.alert is
    'One row per condition that needs a hand (kind, subject), from the check that first found it to the one that no longer did';
comment on column control.alert.since is 'When the condition itself began, as the ledger tells it';
comment on column control.alert.told_at is 'When it was last put into a message; null where no channel was set';
create unique index alert_one_standing on control.alert (kind, subject) where resolved_at is null;

create table control.alert_message (
    message_id bigint generated always as identity primary key,
    channel text not null check (channel in ('email', 'webhook')),
    recipients int not null check (recipients > 0),
    created_at timestamptz not null,
    content jsonb not null,
    state text not null default 'waiting' check (state in ('waiting', 'sent', 'given_up')),
    tries int not null default 0,
    next_try timestamptz not null,
    ended_at timestamptz,
    error_code text,
    status int,
    check ((state = 'waiting') = (ended_at is null))
);
comment on table control.alert_message is
    'One row per message on one channel: what one check had to tell, and how its delivery went. Never an address, a secret or a patient''s value';
comment on column control.alert_message.content is 'The events told: new, standing or resolved conditions as they stood then';
comment on column control.alert_message.status is 'What the mail server (SMTP) or the address called (HTTP) last answered';
create index alert_message_waiting on control.alert_message (next_try) where state = 'waiting';

create table control.alert_lock ();
comment on table control.alert_lock is
    'Never holds a row: a check of the conditions locks it, so that two at once tell of nothing twice';
"""


def upgrade() -> None:
    op.execute(DDL)


def downgrade() -> None:
    raise NotImplementedError("the ledger is never dropped by a migration")

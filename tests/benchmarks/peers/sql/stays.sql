{# Grain: one row per current stay: its end, and the first record of the stay that it is a part of. #}
create or replace temp table ended_stay as
with bounded as (
    select
        stay.row_uid_hi,
        stay.row_uid_lo,
        stay.stay_id,
        stay.previous_stay_id,
        stay.patient_id,
        stay.admitted_at,
        stay.admitted_at_local,
        coalesce(stay.stay_type__standard = 'full', false) as kept,
        least(
            coalesce(stay.discharged_at, min(stay.admitted_at) filter (where stay.stay_type__standard = 'full') over later),
            death.died_at,
            {{ until }}::timestamptz
        ) as first_end,
        least(
            coalesce(
                stay.discharged_at_local,
                min(stay.admitted_at_local) filter (where stay.stay_type__standard = 'full') over later_local
            ),
            death.died_at_local,
            {{ until_local }}::timestamp
        ) as first_end_local
    from current_stay as stay
    left join death using (patient_id)
    window
        later as (
            partition by stay.patient_id order by stay.admitted_at
            range between interval 1 microsecond following and unbounded following
        ),
        later_local as (
            partition by stay.patient_id order by stay.admitted_at_local
            range between interval 1 microsecond following and unbounded following
        )
),

told as (
    select
        * exclude (first_end, first_end_local),
        first_end is null as untold,
        greatest(admitted_at, first_end) as ended_at,
        greatest(admitted_at_local, first_end_local) as ended_at_local
    from bounded
),

linked as (
    select
        *,
        coalesce(
            kept
            and (
                admitted_at <= max(ended_at) over (
                    partition by patient_id, kept order by admitted_at, stay_id
                    rows between unbounded preceding and 1 preceding
                ) + interval {{ gap_hours }} hours
                or previous_stay_id
                = lag(stay_id) over (partition by patient_id, kept order by admitted_at, stay_id)
            ),
            false
        ) as follows
    from told
),

chained as (
    select
        *,
        count(*) filter (where not follows) over (
            partition by patient_id, kept order by admitted_at, stay_id rows unbounded preceding
        ) as chain
    from linked
)

select
    row_uid_hi,
    row_uid_lo,
    ended_at,
    ended_at_local,
    untold,
    coalesce(ended_at > admitted_at + interval {{ long_days }} days, false) as long,
    first_value(stay_id) over (partition by patient_id, kept, chain order by admitted_at, stay_id) as whole_stay_id
from chained

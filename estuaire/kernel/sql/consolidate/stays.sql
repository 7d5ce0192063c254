{% from "_parts.sql" import is_current, standard, code_maps, patient %}
{# Grain: one row per current stay (docs/domain/stays.md). It ends at the earliest of its discharge, the end of the patient's day of death,
   and the moment until which stays are told; one without a discharge also where the same patient's next full stay begins. Full stays of a
   patient that overlap, that follow each other within the gap, or of which one names the one before as its previous stay, are one. #}
create or replace temp table ended as
with own as (
    select
        landed.row_uid_hi,
        landed.row_uid_lo,
        landed.stay_id,
        landed.previous_stay_id,
        {{ patient(moved) }} as patient_id,
        coalesce({{ standard("stay_type") }} = 'full', false) as kept,
        landed.admitted_at,
        landed.admitted_at_local,
        landed.discharged_at,
        landed.discharged_at_local
    from landed_stay as landed
    {{ code_maps(codes) }}
    {% if moved %}
    left join survivor on survivor.old_id = landed.patient_id
    {% endif %}
    where {{ is_current("stay") }}
),

bounded as (
    select
        own.*,
        death.died_at,
        death.died_at_local,
        min(admitted_at) filter (where kept) over (
            partition by patient_id order by admitted_at
            range between interval 1 microsecond following and unbounded following
        ) as next_at,
        min(admitted_at_local) filter (where kept) over (
            partition by patient_id order by admitted_at_local
            range between interval 1 microsecond following and unbounded following
        ) as next_at_local
    from own
    left join death using (patient_id)
),

closed as (
    select
        *,
        least(coalesce(discharged_at, next_at), died_at, {{ until }}::timestamptz) as first_end,
        least(
            coalesce(discharged_at_local, next_at_local), died_at_local, {{ until_local }}::timestamp
        ) as first_end_local
    from bounded
),

told as (
    select
        * exclude (first_end, first_end_local),
        first_end is null as untold,
        greatest(admitted_at, first_end) as ended_at,
        greatest(admitted_at_local, first_end_local) as ended_at_local
    from closed
),

stepped as (
    select
        *,
        max(ended_at) over earlier as before,
        lag(stay_id) over (partition by patient_id, kept order by admitted_at, stay_id) as stay_before
    from told
    window earlier as (
        partition by patient_id, kept order by admitted_at, stay_id
        rows between unbounded preceding and 1 preceding
    )
),

numbered as (
    select
        *,
        sum(
            case
                when
                    kept
                    and (
                        before is not null and admitted_at <= before + interval {{ gap_hours }} hours
                        or previous_stay_id = stay_before
                    )
                    then 0
                else 1
            end
        ) over (partition by patient_id, kept order by admitted_at, stay_id rows unbounded preceding) as chain
    from stepped
)

select
    row_uid_hi,
    row_uid_lo,
    ended_at,
    ended_at_local,
    untold,
    ended_at > admitted_at + interval {{ long_days }} days as long,
    first_value(stay_id) over (
        partition by patient_id, kept, chain order by admitted_at, stay_id
    ) as whole_stay_id
from numbered

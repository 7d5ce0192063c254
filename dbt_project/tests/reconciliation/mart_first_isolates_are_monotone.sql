-- Species where a longer episode leaves more first isolates than a shorter one, or a method more than all (the same of
-- hospitals is gate 4's rule dedup_monotone); hospitals whose method all does not hold every isolate row.
with counted as (
    select
        hospital_id,
        dedup_scope,
        among,
        species,
        count(*) filter (where method = 'all') as n_all,
        count(*) filter (where method = 'all' and excluded_because is null) as n_eligible,
        count(*) filter (where method = 'episode_7') as n_7,
        count(*) filter (where method = 'episode_14') as n_14,
        count(*) filter (where method = 'episode_30') as n_30,
        count(*) filter (where method = 'episode_365') as n_365,
        count(*) filter (where method = 'patient') as n_patient,
        count(*) filter (where method = 'm39') as n_m39,
        count(*) filter (where method = 'ears_net') as n_ears_net,
        count(*) filter (where method = 'glass') as n_glass,
        count(*) filter (where method = 'phenotype_30') as n_phenotype_30,
        count(*) filter (where method = 'phenotype_365') as n_phenotype_365
    from {{ ref('first_isolate') }}
    group by grouping sets ((hospital_id, dedup_scope, among), (dedup_scope, among, species))
),

received as (
    select
        hospital_id,
        count(*) as isolates
    from {{ ref('isolate') }}
    group by hospital_id
)

select
    counted.hospital_id,
    counted.dedup_scope,
    counted.among,
    counted.species
from counted
left join received
    on
        counted.hospital_id = received.hospital_id
        and counted.dedup_scope = 'hospital'
        and counted.among = 'all_isolates'
where
    received.isolates <> counted.n_all
    or (
        counted.hospital_id is null
        and not (
            counted.n_patient <= counted.n_365
            and counted.n_365 <= counted.n_30
            and counted.n_30 <= counted.n_14
            and counted.n_14 <= counted.n_7
            and counted.n_7 <= counted.n_eligible
            and counted.n_patient <= counted.n_m39
            and counted.n_m39 <= counted.n_glass
            and counted.n_ears_net <= counted.n_glass
            and counted.n_glass <= counted.n_eligible
            and counted.n_365 <= counted.n_phenotype_365
            and counted.n_30 <= counted.n_phenotype_30
        )
    )

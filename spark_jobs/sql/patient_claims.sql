{# Grain: one row per local patient and token: what says who he is, and whether all who bear the token agree. #}
with given_up as (select * from base where merged_into is not null),
kept as (
    select base.* from base
    where merged_into is null and (hospital_id, patient_id) in (select (hospital_id, merged_into) from given_up)
),
claims as (
    select node, 'national_id|' || national_id as token, sex, birth_year from base where national_id is not null
    union all
    select node, 'upstream_pseudonym|' || upstream_pseudonym, sex, birth_year from base where upstream_pseudonym is not null
    union all
    select node, concat_ws('|', 'merge', hospital_id, coalesce(merged_into, patient_id)), null, null
    from (
        select * from given_up
        union all
        select * from kept
    )
),
judged as (
    select token, count(*) as members, count(distinct sex) <= 1 and count(distinct birth_year) <= 1 as agrees
    from claims group by token
)
select claims.node, claims.token, judged.members, judged.agrees from claims inner join judged using (token)

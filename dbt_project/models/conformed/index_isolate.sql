with member as (
    select distinct
        effect.organism_code as index_organism_code,
        same_species.organism_code
    from {{ ref('exposure_effect') }} as effect
    inner join {{ ref('organism_species') }} as named on effect.organism_code = named.organism_code
    inner join {{ ref('organism_species') }} as same_species on named.species = same_species.species
),

candidate as (
    select
        member.index_organism_code as organism_code,
        specimen.patient_key,
        isolate.isolate_key,
        isolate.isolate_number,
        specimen.specimen_key,
        specimen.stay_key,
        specimen.hospital_id,
        specimen.collected_at,
        specimen.collected_at_local,
        case when unit.unit_type = 'icu' then 'icu' else 'other' end as ward,
        rank() over (
            partition by member.index_organism_code, specimen.patient_key order by specimen.collected_at
        ) as place
    from {{ ref('isolate') }} as isolate
    inner join member on isolate.organism_code = member.organism_code
    inner join {{ ref('specimen') }} as specimen on isolate.specimen_key = specimen.specimen_key
    inner join {{ ref('hospital') }} as hospital
        on
            specimen.hospital_id = hospital.hospital_id
            and hospital.study_member
            and hospital.calendar is distinct from 'shifted'
    left join {{ ref('unit') }} as unit on specimen.unit_key = unit.unit_key
    where
        isolate.status in ('final', 'corrected')
        and specimen.purpose = 'diagnostic'
        and specimen.of_unknown_patient is not true
        and specimen.collected_at is not null
        -- elsewhere no record of the hospital can lie: a calendar of its windows would have no end
        and specimen.collected_at_local::date between hospital.first_day and hospital.last_day
),

-- those of each person's first moment: one, but for the bottles of one draw and other isolates of that minute
tied as (
    select
        candidate.organism_code,
        candidate.patient_key,
        candidate.isolate_key,
        candidate.isolate_number,
        candidate.specimen_key,
        candidate.hospital_id,
        candidate.collected_at,
        candidate.collected_at_local,
        candidate.ward,
        spell.spell_key,
        spell.spell_admitted_at
    from candidate
    left join {{ ref('study_spell') }} as spell on candidate.stay_key = spell.stay_key
    where candidate.place = 1
),

-- their results, by bytes: in any collation; a record's key is a pseudonym's hash and decides nothing that is published
content as (
    select
        susceptibility.isolate_key,
        count(*) filter (where susceptibility.category in ('S', 'I', 'R')) as interpreted,
        string_agg(
            susceptibility.agent_code || ' ' || coalesce(susceptibility.category, ''), ','
            order by convert_to(susceptibility.agent_code, 'UTF8'), convert_to(susceptibility.category, 'UTF8')
        ) as results
    from {{ ref('susceptibility') }} as susceptibility
    where
        susceptibility.agent_code is not null
        and susceptibility.isolate_key in (select tied.isolate_key from tied)
    group by susceptibility.isolate_key
)

select distinct on (tied.organism_code, tied.patient_key)
    tied.organism_code,
    tied.patient_key,
    tied.isolate_key,
    tied.specimen_key,
    tied.hospital_id,
    tied.collected_at,
    tied.collected_at_local::date as index_on,
    tied.ward,
    tied.spell_key
from tied
left join content on tied.isolate_key = content.isolate_key
order by
    tied.organism_code asc,
    tied.patient_key asc,
    coalesce(content.interpreted, 0) desc,
    tied.isolate_number asc,
    convert_to(content.results, 'UTF8') asc,
    tied.hospital_id asc,
    tied.ward asc,
    tied.spell_admitted_at asc nulls last,
    -- equal so far: interchangeable in every mart
    tied.specimen_key asc

-- few codes and many diagnoses: each code is compared with the prefixes once
with infection_code as materialized (
    select distinct
        written.diagnosis_system,
        written.diagnosis_code
    from (
        select distinct
            diagnosis_system,
            diagnosis_code
        from {{ ref('diagnosis') }}
        where diagnosis_code is not null
    ) as written
    inner join {{ ref('infection_diagnosis') }} as infection
        on
            written.diagnosis_system = infection.diagnosis_system
            and starts_with(written.diagnosis_code, infection.code_prefix)
)

select distinct
    spell.patient_key,
    spell.admitted_on,
    spell.spell_key,
    spell.spell_admitted_at,
    spell.spell_left_at
from {{ ref('diagnosis') }} as diagnosis
inner join infection_code
    on
        diagnosis.diagnosis_system = infection_code.diagnosis_system
        and diagnosis.diagnosis_code = infection_code.diagnosis_code
inner join {{ ref('study_spell') }} as spell on diagnosis.stay_key = spell.stay_key

with drug as (
    select distinct
        effect.exposure_atc,
        antimicrobial.atc
    from {{ ref('exposure_effect') }} as effect
    inner join {{ ref('antimicrobial') }} as antimicrobial on starts_with(antimicrobial.atc, effect.exposure_atc)
)

select
    drug.exposure_atc,
    patient_link.patient_key,
    administration.given_at_local::date as given_on,
    count(*) as doses
from {{ ref('stg_administration') }} as administration
inner join drug on administration.atc = drug.atc
inner join {{ ref('hospital') }} as hospital
    on
        administration.hospital_id = hospital.hospital_id
        and hospital.study_member
        and hospital.calendar is distinct from 'shifted'
inner join {{ ref('patient_link') }} as patient_link
    on
        administration.hospital_id = patient_link.hospital_id
        and administration.patient_id = patient_link.patient_id
        and patient_link.of_unknown_patient is not true
where
    administration.status = 'given'
    and administration.given_at_local is not null
group by drug.exposure_atc, patient_link.patient_key, administration.given_at_local::date

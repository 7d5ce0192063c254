select
    administration.hospital_id,
    patient_link.patient_key,
    administration.atc,
    administration.given_at_local::date as given_on,
    count(*) as doses
from {{ ref('stg_administration') }} as administration
inner join {{ ref('antimicrobial') }} as antimicrobial on administration.atc = antimicrobial.atc
inner join {{ ref('patient_link') }} as patient_link
    on
        administration.hospital_id = patient_link.hospital_id
        and administration.patient_id = patient_link.patient_id
-- Another patient's stay does not resolve: the dose is then placed by its time.
left join {{ ref('stay') }} as stay
    on
        administration.hospital_id = stay.hospital_id
        and administration.stay_id = stay.stay_id
        and patient_link.patient_key = stay.patient_key
where
    administration.status = 'given'
    and (
        stay.stay_type = 'full'
        or (
            stay.stay_key is null
            and exists (
                select 1
                from {{ ref('stay') }} as full_stay
                where
                    full_stay.hospital_id = administration.hospital_id
                    and full_stay.patient_key = patient_link.patient_key
                    and full_stay.stay_type = 'full'
                    and administration.given_at between full_stay.admitted_at and full_stay.counted_until
            )
        )
    )
group by
    administration.hospital_id,
    patient_link.patient_key,
    administration.atc,
    administration.given_at_local::date

-- Known of birth: an age in a year. The first of January stands for the day; 91 stands for every age above 89.
select
    subject_id as patient_id,
    make_date(anchor_year::integer - anchor_age::integer, 1, 1) as birth_date,
    gender as sex,
    dod as death_date,
    case when dod is not null then 'MIMIC-IV' end as death_source
from patients
order by patient_id

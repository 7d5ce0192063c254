-- A specimen is a screening one if every test of it is; midnight stands for a time of collection that is not known.
select
    micro_specimen_id as specimen_id,
    min(subject_id) as patient_id,
    min(hadm_id) as stay_id,
    min(spec_type_desc) as nature,
    case when bool_and(screening_tests.test_name is not null) then 'screening' else 'diagnostic' end as purpose,
    min(coalesce(charttime, chartdate)) as collected_at,
    max(coalesce(storetime, storedate)) as validated_at
from microbiologyevents
left join screening_tests on microbiologyevents.test_name = screening_tests.test_name
group by micro_specimen_id
order by specimen_id

-- A result is a number, or a text, or else the laboratory's comment; three underscores stand where MIMIC took something out.
select
    labevents.labevent_id as lab_result_id,
    labevents.subject_id as patient_id,
    labevents.hadm_id as stay_id,
    labevents.itemid as test_code,
    d_labitems.label as test_label,
    try_cast(labevents.valuenum as decimal(18, 6)) as value,
    case
        when labevents.valuenum is null
            then coalesce(nullif(trim(labevents.value), '___'), nullif(trim(labevents.comments), '___'))
    end as value_text,
    trim(labevents.valueuom) as unit,
    try_cast(labevents.ref_range_lower as decimal(18, 6)) as lower_bound,
    try_cast(labevents.ref_range_upper as decimal(18, 6)) as upper_bound,
    labevents.charttime as collected_at,
    'final' as status
from labevents
left join d_labitems on labevents.itemid = d_labitems.itemid
order by lab_result_id::bigint

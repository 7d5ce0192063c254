{# Grain: one row per (hospital_id, patient_id); a node of the graph of who is who. #}
select
    concat_ws('|', hospital_id, patient_id) as node,
    hospital_id,
    patient_id,
    sex,
    year(birth_date) as birth_year,
    national_id,
    upstream_pseudonym,
    merged_into
from {{ patients }}

{# Grain: one row per sound record of a file, in its order: where it stands, its identity and its texts in their normal form. #}
create or replace temp table texts as
select
    place.record_number,
    place.line_number,
    place.byte_offset,
    place.byte_length,
    place.row_uid_hi,
    place.row_uid_lo
    {% for column in columns %}
    , {% if column.label %}normal_label{% else %}normal_line{% endif %}(record.{{ column.name }}, [{{ nothing }}]) as {{ column.name }}
    {% endfor %}
from read_csv(
    {{ path }},
    delim = {{ delimiter }}, header = false, quote = '"', escape = '"', auto_detect = false, strict_mode = false,
    columns = { {{ delivered }} }, nullstr = [{{ nothing }}], max_line_size = 16000000
) as record
positional join place

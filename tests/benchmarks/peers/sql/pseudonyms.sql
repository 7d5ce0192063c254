{# Grain: one row per distinct identifier of a column. #}
create or replace temp table {{ "pseudonyms_" ~ name }} as
select
    written,
    case when {{ right }} then hmac({{ message }} || bare(written)) end as pseudonym
    {% if patient %}
    , is_nobody(bare(written)) or bare(written) in ('' {% for other in nobody %}, bare({{ other }}){% endfor %}) as unknown
    {% endif %}
from (select distinct {{ name }} as written from texts where stripped({{ name }}) is not null)

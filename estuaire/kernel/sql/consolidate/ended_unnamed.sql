{% from "_parts.sql" import same_record %}
update {{ "version_" ~ table }} as version
set state = 'ended'
from omitted
where {{ same_record("omitted", "version") }}

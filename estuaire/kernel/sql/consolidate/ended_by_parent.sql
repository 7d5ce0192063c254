{% from "_parts.sql" import same_record %}
update {{ "version_" ~ table }} as version
set state = case when judged.ended then 'ended' else 'current' end, undated = judged.undated and not judged.ended
from judged
where (judged.ended or judged.undated) and {{ same_record("judged", "version") }}

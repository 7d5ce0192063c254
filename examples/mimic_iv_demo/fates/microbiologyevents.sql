-- Every line speaks of a specimen; one that names an organism (or a result statement in its place) of an isolate; one that names a drug
-- of a susceptibility. The line counts where it says most.
select
    line,
    case
        when ab_name is not null then 'susceptibility'
        when org_name is not null then 'isolate'
        else 'specimen'
    end as mapped_to,
    null as reason
from microbiologyevents

-- Amounts (one line a product) and the route (the line without ordinal) belong to the dose of their event.
with decided as (
    select
        emar_detail.line,
        case
            when coalesce(emar_fate.mapped_to, '') <> 'administration' then 'event_left_out'
            when emar_detail.dose_given is null and emar_detail.route is null then 'says_no_dose'
        end as reason
    from emar_detail
    left join emar on emar_detail.emar_id = emar.emar_id
    left join emar_fate on emar.line = emar_fate.line
)

select line, case when reason is null then 'administration' end as mapped_to, reason from decided

-- Only doses really given, by the reviewed list of event texts; one dose an event.
with decided as (
    select
        emar.line,
        case
            when event_texts.outcome <> 'given' then event_texts.outcome
            when emar_drug.drug is null then 'no_drug_named'
        end as reason
    from emar
    inner join event_texts on coalesce(trim(emar.event_txt), '') = event_texts.event_txt
    left join emar_drug on emar.emar_id = emar_drug.emar_id
)

select line, case when reason is null then 'administration' end as mapped_to, reason from decided

-- The drug of an order; its base and additives are no orders of their own.
with decided as (
    select
        line,
        case
            when drug_type <> 'MAIN' then 'base_or_additive'
            when stoptime < starttime then 'order_taken_back'
        end as reason
    from prescriptions
)

select line, case when reason is null then 'prescription' end as mapped_to, reason from decided

with strength as (
    select
        atc,
        route_group,
        product_g as amount,
        true as of_product
    from {{ ref('combination_strength') }}
    where product_g is not null
    union all
    select
        atc,
        route_group,
        substance_g as amount,
        false as of_product
    from {{ ref('combination_strength') }}
    where substance_g is not null
),

-- an amount that a product and a substance share tells nothing
telling as (
    select
        atc,
        route_group,
        amount,
        bool_and(of_product) as of_product
    from strength
    group by atc, route_group, amount
    having bool_and(of_product) or not bool_or(of_product)
),

written as (
    select
        hospital_id,
        atc,
        route,
        dose * case dose_unit when 'g' then 1 when 'mg' then 0.001 end as grams,
        count(*) as doses
    from {{ ref('stg_administration') }}
    where
        status = 'given'
        and atc in (select combination.atc from {{ ref('combination_strength') }} as combination)
    group by hospital_id, atc, route, dose, dose_unit
)

select
    written.hospital_id,
    written.atc,
    coalesce(hospital.combination_doses_by_drug ->> written.atc, hospital.combination_doses) as declared,
    sum(written.doses)::bigint as doses,
    coalesce(sum(written.doses) filter (where telling.of_product), 0)::bigint as looks_product,
    coalesce(sum(written.doses) filter (where not telling.of_product), 0)::bigint as looks_substance
from written
inner join {{ ref('hospital') }} as hospital on written.hospital_id = hospital.hospital_id
left join telling
    on
        written.atc = telling.atc
        and telling.route_group = case when written.route = 'oral' then 'oral' else 'parenteral' end
        and written.grams = telling.amount
group by
    written.hospital_id,
    written.atc,
    coalesce(hospital.combination_doses_by_drug ->> written.atc, hospital.combination_doses)

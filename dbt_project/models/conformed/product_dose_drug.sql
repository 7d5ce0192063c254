with combination as (
    select
        atc,
        route_group,
        min(substance_g / product_g) filter (where fixed_ratio) as share
    from {{ ref('combination_strength') }}
    group by atc, route_group
)

select
    hospital.hospital_id,
    combination.atc,
    combination.route_group,
    combination.share
from {{ ref('hospital') }} as hospital
cross join combination
where coalesce(hospital.combination_doses_by_drug ->> combination.atc, hospital.combination_doses) = 'product'

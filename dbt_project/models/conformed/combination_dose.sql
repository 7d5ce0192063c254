-- a presentation once or several times at a time: 2.4 g of a product of 1.2 g is two of it
with presentation as (
    select
        strength.atc,
        strength.route_group,
        times.n * strength.product_g as product_g,
        times.n * strength.substance_g as substance_g
    from {{ ref('combination_strength') }} as strength
    cross join generate_series(1, 4) as times (n)
    where
        strength.product_g is not null
        and not strength.fixed_ratio
)

select
    atc,
    route_group,
    trim_scale(product_g) as product_g,
    trim_scale(min(substance_g)) as substance_g
from presentation
group by atc, route_group, product_g
-- an amount that two presentations make up with different amounts of the substance says nothing
having min(substance_g) = max(substance_g)

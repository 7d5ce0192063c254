with scale (unit, base_unit, base_amount) as (
    values
    ('g', 'g', 1),
    ('mg', 'g', 0.001),
    ('[MIU]', '[MIU]', 1),
    ('[IU]', '[MIU]', 0.000001),
    ('{unit_dose}', '{unit_dose}', 1)
),

defined_daily_dose as (
    select
        atc,
        'oral' as route_group,
        oral_ddd as ddd,
        oral_ddd_unit as ddd_unit
    from {{ ref('antimicrobial') }}
    where oral_ddd is not null
    union all
    select
        atc,
        'parenteral' as route_group,
        parenteral_ddd as ddd,
        parenteral_ddd_unit as ddd_unit
    from {{ ref('antimicrobial') }}
    where parenteral_ddd is not null
    union all
    select
        atc,
        route as route_group,
        ddd,
        ddd_unit
    from {{ ref('other_route_ddd') }}
),

-- within one base unit (mg and g), and between two of them where the substance has a conversion of its own
base_conversion as (
    select distinct
        antimicrobial.atc,
        scale.base_unit as from_base,
        scale.base_unit as to_base,
        1.0 as factor
    from {{ ref('antimicrobial') }} as antimicrobial
    cross join scale
    union all
    select
        conversion.atc,
        from_scale.base_unit as from_base,
        to_scale.base_unit as to_base,
        conversion.factor * to_scale.base_amount / from_scale.base_amount as factor
    from {{ ref('dose_conversion') }} as conversion
    inner join scale as from_scale on conversion.from_unit = from_scale.unit
    inner join scale as to_scale on conversion.to_unit = to_scale.unit
)

select
    defined_daily_dose.atc,
    defined_daily_dose.route_group,
    dose_scale.unit as dose_unit,
    defined_daily_dose.ddd::numeric as ddd,
    defined_daily_dose.ddd_unit,
    trim_scale(dose_scale.base_amount * base_conversion.factor / ddd_scale.base_amount) as factor
from defined_daily_dose
inner join scale as ddd_scale on defined_daily_dose.ddd_unit = ddd_scale.unit
inner join base_conversion
    on
        defined_daily_dose.atc = base_conversion.atc
        and ddd_scale.base_unit = base_conversion.to_base
inner join scale as dose_scale on base_conversion.from_base = dose_scale.base_unit

{#-
    What was given, counted in the cells of a stratum: per hospital, strata, grouping, item and narrowest scope the DDDs, days of therapy,
    length of therapy and doses (docs/domain/consumption.md, "Measures"). The rest of a query that begins with a relation of the days.

    given: relation with a row per hospital, strata, person, ATC code and local day, and antibiotic_day's counts and amounts.
    strata: its columns, beside hospital_id, that a cell is counted within.
-#}
{% macro antibiotic_use(given, strata) -%}
drug as (
    select
        atc,
        class,
        oral_ddd,
        parenteral_ddd,
        case when in_esac then 'esac' when in_spares then 'spares' else 'all' end as narrowest_scope,
        -- the classification names a route only where the class depends on it: elsewhere the substance has one
        coalesce(aware_oral, aware_parenteral, 'unclassified') as aware_oral,
        coalesce(aware_parenteral, aware_oral, 'unclassified') as aware_parenteral,
        case
            when coalesce(aware_oral, aware_parenteral) = coalesce(aware_parenteral, aware_oral)
                then coalesce(aware_oral, aware_parenteral)
            else 'unclassified'
        end as aware_other
    from {{ ref('antimicrobial') }}
),

-- which routes a drug may be given by on one day
routes (by_mouth, by_injection, otherwise) as (
    values
    (true, false, false), (false, true, false), (false, false, true), (true, true, false),
    (true, false, true), (false, true, true), (true, true, true)
),

-- and the AWaRe classes that these have, each once
drug_route as (
    select
        drug.atc,
        drug.narrowest_scope,
        drug.class,
        routes.by_mouth,
        routes.by_injection,
        routes.otherwise,
        drug.aware_oral as aware
    from drug
    inner join routes on routes.by_mouth
    union
    select
        drug.atc,
        drug.narrowest_scope,
        drug.class,
        routes.by_mouth,
        routes.by_injection,
        routes.otherwise,
        drug.aware_parenteral as aware
    from drug
    inner join routes on routes.by_injection
    union
    select
        drug.atc,
        drug.narrowest_scope,
        drug.class,
        routes.by_mouth,
        routes.by_injection,
        routes.otherwise,
        drug.aware_other as aware
    from drug
    inner join routes on routes.otherwise
),

use_by_route as (
    select
        hospital_id,
        {{ strata_columns(strata) }},
        atc,
        oral_doses > 0 as by_mouth,
        parenteral_doses > 0 as by_injection,
        doses > oral_doses + parenteral_doses as otherwise,
        count(*) as days,
        sum(oral_doses) as oral_doses,
        sum(parenteral_doses) as parenteral_doses,
        sum(doses - oral_doses - parenteral_doses) as other_doses,
        sum(oral_amount) as oral_amount,
        sum(parenteral_amount) as parenteral_amount,
        sum(oral_doses_without_ddd) as oral_doses_without_ddd,
        sum(other_ddd) as other_ddd,
        sum(parenteral_doses_without_ddd) as parenteral_doses_without_ddd,
        sum(other_doses_without_ddd) as other_doses_without_ddd
    from {{ given }}
    group by
        hospital_id,
        {{ strata_columns(strata) }},
        atc,
        oral_doses > 0,
        parenteral_doses > 0,
        doses > oral_doses + parenteral_doses
),

-- rounded once here, so that every sum of DDDs above it is exact
amount as (
    select
        use_by_route.hospital_id,
        {{ strata_columns(strata, 'use_by_route') }},
        use_by_route.atc,
        drug.narrowest_scope,
        drug.class,
        by_route.aware,
        round(sum(by_route.ddd), 4) as ddd,
        sum(by_route.doses) as doses,
        sum(by_route.doses_without_ddd) as doses_without_ddd
    from use_by_route
    inner join drug on use_by_route.atc = drug.atc
    cross join
        lateral (
            values
            (
                use_by_route.by_mouth, drug.aware_oral, use_by_route.oral_doses,
                coalesce(use_by_route.oral_amount / drug.oral_ddd, 0), use_by_route.oral_doses_without_ddd
            ),
            (
                use_by_route.by_injection, drug.aware_parenteral, use_by_route.parenteral_doses,
                coalesce(use_by_route.parenteral_amount / drug.parenteral_ddd, 0),
                use_by_route.parenteral_doses_without_ddd
            ),
            (
                use_by_route.otherwise, drug.aware_other, use_by_route.other_doses,
                use_by_route.other_ddd, use_by_route.other_doses_without_ddd
            )
        ) as by_route (given, aware, doses, ddd, doses_without_ddd)
    where by_route.given
    group by
        use_by_route.hospital_id, {{ strata_columns(strata, 'use_by_route') }}, use_by_route.atc, drug.narrowest_scope, drug.class, by_route.aware
),

-- days of therapy: of the AWaRe classes, a drug given by two routes on one day counts in each class that these have
therapy as (
    select
        use_by_route.hospital_id,
        {{ strata_columns(strata, 'use_by_route') }},
        cells.grouping,
        cells.item,
        drug.narrowest_scope,
        sum(use_by_route.days) as days_of_therapy
    from use_by_route
    inner join drug on use_by_route.atc = drug.atc
    cross join lateral (values ('total', 'all'), ('class', drug.class), ('atc', drug.atc)) as cells (grouping, item)
    group by use_by_route.hospital_id, {{ strata_columns(strata, 'use_by_route') }}, cells.grouping, cells.item, drug.narrowest_scope
    union all
    select
        use_by_route.hospital_id,
        {{ strata_columns(strata, 'use_by_route') }},
        'aware' as grouping,
        drug_route.aware as item,
        drug_route.narrowest_scope,
        sum(use_by_route.days) as days_of_therapy
    from use_by_route
    inner join drug_route
        on
            use_by_route.atc = drug_route.atc
            and use_by_route.by_mouth = drug_route.by_mouth
            and use_by_route.by_injection = drug_route.by_injection
            and use_by_route.otherwise = drug_route.otherwise
    group by use_by_route.hospital_id, {{ strata_columns(strata, 'use_by_route') }}, drug_route.aware, drug_route.narrowest_scope
),

-- persons by number: days are compared by a number and a day, not by two texts
person as (
    select
        hospital_id,
        patient_key,
        row_number() over (order by hospital_id, patient_key) as person_number
    from {{ given }}
    group by hospital_id, patient_key
),

treated as (
    select
        person.hospital_id,
        person.person_number,
        {{ strata_columns(strata, 'day_given') }},
        day_given.atc,
        day_given.given_on,
        day_given.oral_doses > 0 as by_mouth,
        day_given.parenteral_doses > 0 as by_injection,
        day_given.doses > day_given.oral_doses + day_given.parenteral_doses as otherwise
    from {{ given }} as day_given
    inner join person
        on
            day_given.hospital_id = person.hospital_id
            and day_given.patient_key = person.patient_key
),

-- length of therapy: a day counts once in a cell, under the narrowest scope of what was given in it
treated_day as (
    select
        treated.hospital_id,
        {{ strata_columns(strata, 'treated') }},
        treated.given_on,
        drug_route.class,
        drug_route.aware,
        grouping(drug_route.class) = 0 as by_class,
        grouping(drug_route.aware) = 0 as by_aware,
        -- esac before spares; null where everything given is of scope all only
        min(nullif(drug_route.narrowest_scope, 'all')) as narrower_scope
    from treated
    inner join drug_route
        on
            treated.atc = drug_route.atc
            and treated.by_mouth = drug_route.by_mouth
            and treated.by_injection = drug_route.by_injection
            and treated.otherwise = drug_route.otherwise
    group by grouping sets (
        (treated.hospital_id, {{ strata_columns(strata, 'treated') }}, treated.person_number, treated.given_on),
        (treated.hospital_id, {{ strata_columns(strata, 'treated') }}, treated.person_number, treated.given_on, drug_route.class),
        (treated.hospital_id, {{ strata_columns(strata, 'treated') }}, treated.person_number, treated.given_on, drug_route.aware)
    )
),

measure as (
    select
        hospital_id,
        {{ strata_columns(strata) }},
        grouping,
        item,
        narrowest_scope,
        days_of_therapy,
        case when grouping = 'atc' then days_of_therapy else 0 end as length_of_therapy,
        0 as ddd,
        0 as doses,
        0 as doses_without_ddd
    from therapy
    union all
    select
        hospital_id,
        {{ strata_columns(strata) }},
        case when by_class then 'class' when by_aware then 'aware' else 'total' end as grouping,
        case when by_class then class when by_aware then aware else 'all' end as item,
        coalesce(narrower_scope, 'all') as narrowest_scope,
        0 as days_of_therapy,
        count(*) as length_of_therapy,
        0 as ddd,
        0 as doses,
        0 as doses_without_ddd
    from treated_day
    group by
        hospital_id,
        {{ strata_columns(strata) }},
        case when by_class then 'class' when by_aware then 'aware' else 'total' end,
        case when by_class then class when by_aware then aware else 'all' end,
        coalesce(narrower_scope, 'all')
    union all
    select
        amount.hospital_id,
        {{ strata_columns(strata, 'amount') }},
        cells.grouping,
        cells.item,
        amount.narrowest_scope,
        0 as days_of_therapy,
        0 as length_of_therapy,
        amount.ddd,
        amount.doses,
        amount.doses_without_ddd
    from amount
    cross join lateral (
        values ('total', 'all'), ('class', amount.class), ('atc', amount.atc), ('aware', amount.aware)
    ) as cells (grouping, item)
)

select
    hospital_id,
    {{ strata_columns(strata) }},
    grouping,
    item,
    narrowest_scope,
    sum(ddd)::numeric(18, 4) as ddd,
    sum(days_of_therapy)::bigint as days_of_therapy,
    sum(length_of_therapy)::bigint as length_of_therapy,
    sum(doses)::bigint as doses,
    sum(doses_without_ddd)::bigint as doses_without_ddd
from measure
group by hospital_id, {{ strata_columns(strata) }}, grouping, item, narrowest_scope
{%- endmacro %}

{#- The columns of ``strata``, of one relation where it is named. -#}
{% macro strata_columns(strata, relation='') -%}
    {%- for column in strata -%}
        {%- if relation -%} {{ relation }}. {%- endif -%} {{ column }} {%- if not loop.last -%}, {% endif -%}
    {%- endfor -%}
{%- endmacro %}

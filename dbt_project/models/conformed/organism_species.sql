with species_code as (
    -- the species itself where the seed holds it, else the first of its subspecies
    select
        genus,
        species,
        coalesce(min(organism_code) filter (where rank = 'species'), min(organism_code)) as species_code
    from {{ ref('organism') }}
    where
        kind = 'organism'
        and species is not null
        and genus <> '(unknown genus)'
    group by genus, species
)

select
    organism.organism_code,
    coalesce(species_code.species_code, organism.organism_code) as species,
    case
        when species_code.species_code is null and organism.rank = 'genus' then organism.name || ' sp.'
        when species_code.species_code is null or organism.rank = 'species group' then organism.name
        else organism.genus || ' ' || organism.species
    end as species_name
from {{ ref('organism') }} as organism
left join species_code
    on
        organism.genus = species_code.genus
        and organism.species = species_code.species
where organism.kind = 'organism'

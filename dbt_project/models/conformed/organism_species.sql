with accepted as (
    select
        organism.organism_code,
        coalesce(synonym.accepted_code, organism.organism_code) as accepted_code
    from {{ ref('organism') }} as organism
    left join {{ ref('organism_synonym') }} as synonym on organism.organism_code = synonym.organism_code
    where organism.kind = 'organism'
),

species_code as (
    -- the species itself where the seed holds it, else the first of its subspecies; never a synonym
    select
        organism.genus,
        organism.species,
        coalesce(
            min(organism.organism_code) filter (where organism.rank = 'species'), min(organism.organism_code)
        ) as species_code
    from {{ ref('organism') }} as organism
    inner join accepted
        on
            organism.organism_code = accepted.organism_code
            and organism.organism_code = accepted.accepted_code
    where
        organism.species is not null
        and organism.genus <> '(unknown genus)'
    group by organism.genus, organism.species
),

named as (
    select
        accepted.organism_code,
        accepted.accepted_code,
        coalesce(species_code.species_code, accepted.accepted_code) as own_species,
        case
            when species_code.species_code is null and organism.rank = 'genus' then organism.name || ' sp.'
            when species_code.species_code is null or organism.rank = 'species group' then organism.name
            else organism.genus || ' ' || organism.species
        end as own_name
    from accepted
    inner join {{ ref('organism') }} as organism on accepted.accepted_code = organism.organism_code
    left join species_code
        on
            organism.genus = species_code.genus
            and organism.species = species_code.species
)

select
    named.organism_code,
    named.accepted_code,
    coalesce(counted.analysis_species, named.own_species) as species,
    coalesce(counted.analysis_species_name, named.own_name) as species_name
from named
left join {{ ref('analysis_species') }} as counted on named.own_species = counted.organism_code

-- Questions of a drug to which the species, or a member of it, is resistant by nature: no dose given made it so.
select
    effect.effect,
    same_species.organism_code,
    effect.agent_code
from {{ ref('exposure_effect') }} as effect
inner join {{ ref('organism') }} as named on effect.organism_code = named.organism_code
inner join {{ ref('organism') }} as same_species
    on
        named.genus = same_species.genus
        and named.species = same_species.species
inner join {{ ref('intrinsic_resistance') }} as intrinsic
    on
        same_species.organism_code = intrinsic.organism_code
        and effect.agent_code = intrinsic.agent_code

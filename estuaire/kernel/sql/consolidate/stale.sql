{# Grain: one row per current record of which a quarantined version, still open, is newer. #}
select distinct
    version.row_uid_hi,
    version.row_uid_lo
from {{ "version_" ~ table }} as version
inner join {{ "rejected_" ~ table }} as rejected using (business_key)
where
    version.state = 'current'
    and (
        rejected.sequence > version.sequence
        or (
            rejected.sequence = version.sequence
            and coalesce(rejected.source_updated_at, timestamptz '0001-01-01')
            > coalesce(version.source_updated_at, timestamptz '0001-01-01')
        )
    )

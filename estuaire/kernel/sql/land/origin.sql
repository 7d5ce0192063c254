{# What is the same for every record of a file: bound, so that the block's statement is the same for every file of its form. #}
set variable origin = { -- noqa: PRS
    'hospital_id': ?::varchar,
    'delivery_id': ?::varchar,
    'sequence': ?::bigint,
    'latest_at': ?::timestamptz,
    'latest_day': ?::date,
    'source_file': ?::varchar
}

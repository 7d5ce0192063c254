select
    {{ release_columns() }},
    '{{ var("code_version") }}' as code_version

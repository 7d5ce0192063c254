select
    {{ release_columns() }},
    '{{ env_var("ESTUAIRE_CODE_VERSION", "unreleased") }}' as code_version

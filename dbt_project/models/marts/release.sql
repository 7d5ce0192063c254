select
    {{ release_columns() }},
    nullif('{{ env_var("ESTUAIRE_HELD_BACK", "") }}', '')::text as held_back

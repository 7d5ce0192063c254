select {{ release_columns() }}

"""What keeps things: object stores, DuckDB, the lake's catalog, the ledger, migrations. Whoever writes rows or objects goes through here."""

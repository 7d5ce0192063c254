"""What landing and consolidating the same deliveries costs in other hands: plain programs in Polars and DuckDB."""

"""Estuaire: consolidates the extracts of many hospitals into curated, quality-gated marts."""

__version__ = "0.1.0"

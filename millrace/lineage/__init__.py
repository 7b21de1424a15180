"""Lineage in ML Metadata: records, queries and verification."""

STORE = "metadata.sqlite"  # within a root

"""Lineage in ML Metadata: what is recorded, looked up and verified."""

STORE = "metadata.sqlite"  # within a root

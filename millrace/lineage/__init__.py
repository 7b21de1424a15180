"""Lineage in ML Metadata: what is recorded, looked up and verified."""

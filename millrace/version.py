"""The version of Millrace: one place for the package, the image tags and the records in lineage."""

__version__ = "0.1.0"

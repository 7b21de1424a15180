"""The version of Millrace, for the package, the image tags and lineage."""

__version__ = "0.1.0"

"""Where bytes lie: paths and URIs, content digests, external files."""

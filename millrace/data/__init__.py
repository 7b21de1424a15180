"""Examples on disk and in memory: Parquet shards in splits, as Arrow record batches."""

"""ExampleValidator: holds the statistics against the schema."""

"""ExampleValidator: validates the statistics against the schema."""

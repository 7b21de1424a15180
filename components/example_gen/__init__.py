"""ExampleGen: reads a table, splits it, writes examples."""

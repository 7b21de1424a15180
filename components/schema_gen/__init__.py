"""SchemaGen: infers the schema of the examples, or imports one."""

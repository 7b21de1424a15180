"""The lifecycle steps, a folder each: component.py is its interface, executor.py its work."""

# The order in which data meets them, which listings follow.
LIFECYCLE = (
    "example_gen",
    "statistics_gen",
    "schema_gen",
    "example_validator",
    "transform",
    "trainer",
    "evaluator",
    "pusher",
)

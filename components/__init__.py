"""The lifecycle steps, a folder each: component.py is its interface, executor.py its work."""

# In the order of the lifecycle, which listings follow.
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

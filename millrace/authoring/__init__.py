"""Tools for authors of pipelines: the compiler, step interfaces, templates."""

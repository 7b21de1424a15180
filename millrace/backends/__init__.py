"""Backends that run containers: in warm processes or in Docker."""

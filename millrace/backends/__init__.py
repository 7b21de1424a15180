"""Where containers run: warm processes, Docker."""

"""Runs a compiled pipeline on this machine."""

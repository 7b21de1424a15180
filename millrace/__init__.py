"""Millrace carries data from its source to a model in production."""

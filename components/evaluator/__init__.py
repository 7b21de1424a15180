"""Evaluator: measures the exported model on raw rows, and blesses it or says why not."""

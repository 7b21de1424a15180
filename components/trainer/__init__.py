"""Trainer: trains a model and exports it with its transform inside."""

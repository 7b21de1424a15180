"""What several steps know of models: problems, features, metrics, exported models."""

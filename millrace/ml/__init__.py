"""What several steps share about models: problems, features, metrics, exported models."""

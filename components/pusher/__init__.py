"""Pusher: quantises the model, measures every candidate, pushes the one that the policy picks."""

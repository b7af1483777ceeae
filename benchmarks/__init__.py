"""Benchmarks that a person starts; results with their machine and versions are kept in benchmarks/results/."""

"""`python -m benchmarks.gpu`: every engine on one card. Its records are read by the report too."""

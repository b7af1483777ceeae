"""Statistics of drift: pure functions on arrays and counts."""

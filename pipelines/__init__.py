"""What a person or CI starts, one verb a file."""

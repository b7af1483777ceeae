"""What a model is: where it comes from, its family, weights, tokenizer and manifest, and the room that it needs."""

"""The server: an OpenAI-style API in front of one engine that batches. See README.md."""

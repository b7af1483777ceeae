"""The machine that Assay runs on: its GPU, memory, packages, interpreters and processes."""

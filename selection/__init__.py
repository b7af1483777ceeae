"""Records in, decision out: the gates a variant must pass, and which of those that pass to serve."""

"""What a target on this machine is made of: one slot as one server process."""

"""What prepared data must be: `table` lays it out, `checks` names what is expected, `run` compares them."""

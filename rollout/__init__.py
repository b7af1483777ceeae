"""From approval to live traffic: a pure state machine, its record, its analysis, and the targets it moves."""

"""Items, splits, tokens and the expectations they must meet."""

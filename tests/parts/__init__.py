"""Real parts that tests start on free ports and stop again, and stand-ins for those that cannot run here."""

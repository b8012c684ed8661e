"""The leader: evaluations to plans, facts to state."""

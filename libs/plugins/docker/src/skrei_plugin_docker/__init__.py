"""The Docker engine: a run is a container, found again by its labels after the agent was gone."""

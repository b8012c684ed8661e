"""The contracts of engines, storages and publishers, their registry and their contract suites."""

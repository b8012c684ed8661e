"""A storage for Skrei that somebody else could have written."""

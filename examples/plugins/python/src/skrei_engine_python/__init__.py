"""An engine for Skrei that somebody else could have written."""

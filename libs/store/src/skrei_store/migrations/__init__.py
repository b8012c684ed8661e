"""Migrations of the record, in order."""

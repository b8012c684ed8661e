"""Storages that need nothing else: inline data and local paths."""

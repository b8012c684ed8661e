"""Storages that need nothing else: inline data, local paths and the results of earlier tasks."""

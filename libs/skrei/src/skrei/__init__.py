"""Compute where the data is: the command line and the client of Skrei."""

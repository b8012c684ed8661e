"""Inputs from IPFS."""

"""The public door: REST, reads, log relay; writes intent."""

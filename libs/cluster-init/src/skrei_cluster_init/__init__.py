"""What a cluster of containers needs before it starts: keys, certificates, tokens, a folder for each service."""

"""Results on a WebDAV server."""

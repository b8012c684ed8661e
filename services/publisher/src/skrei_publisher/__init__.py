"""Results: storing, downloads, expiry."""

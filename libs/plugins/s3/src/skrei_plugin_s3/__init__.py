"""The `s3` storage: objects and prefixes of S3 and of every server that speaks like it."""

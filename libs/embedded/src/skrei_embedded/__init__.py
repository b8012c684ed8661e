"""The laptop's stack: real Postgres and NATS as children, services supervised."""

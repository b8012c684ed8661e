"""What every Skrei service starts from: settings, logs, loops, the bus, tokens."""

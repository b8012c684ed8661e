"""The words of Skrei: states, messages, subjects and the node protocol. Pure."""

"""Gateways and their channels: the only place where content is in clear."""

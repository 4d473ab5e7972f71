"""Channels: the ways in and out of a gateway (REST, folders, webhook, PDF)."""

"""Watching the hub: its log is read, checked against what we saw before, and cosigned; a proven fork stops us."""

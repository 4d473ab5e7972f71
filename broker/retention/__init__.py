"""Retention: what is erased when its time is over or on request, and the legal holds that stop it."""

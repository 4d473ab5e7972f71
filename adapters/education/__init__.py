"""Mappings and defaults of the agency kind: education."""

"""Mappings and defaults of the agency kind: police."""

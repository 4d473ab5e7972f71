"""Mappings and defaults of the agency kind: social care."""

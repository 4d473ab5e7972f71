"""Mappings and defaults of the agency kind: health."""

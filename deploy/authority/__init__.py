"""The authority: the partnership's own signing key, its two officers, and the directory they sign. Kept off the hub (DESIGN, Who runs what)."""

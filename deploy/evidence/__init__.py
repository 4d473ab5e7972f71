"""Evidence packs: made from a hub's records, verified by anyone without it."""

"""Reading the message log: what was logged made searchable, and every read of it logged first (DESIGN, The message log)."""

from broker.audit.projecting import LoggedEvent, Projection, ProjectionState, Projector, read_projections

__all__ = ["LoggedEvent", "Projection", "ProjectionState", "Projector", "read_projections"]

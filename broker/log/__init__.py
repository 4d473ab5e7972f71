"""The message log: events, the sequencer that appends them, and proofs."""

from broker.log.append import LogBatch, LogWriter
from broker.log.events import CATALOGUE, NewEvent

__all__ = ["CATALOGUE", "LogBatch", "LogWriter", "NewEvent"]

"""The twenty questions, a module for each group that reads the same counts."""

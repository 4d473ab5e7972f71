"""Intake: from a batch of messages to one committed transaction (DESIGN, A referral's way through, steps 4 and 5)."""

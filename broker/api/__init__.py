"""The hub's HTTP API: plans, directory, keys, enrolment, the state of one's own referrals, health and metrics."""

"""Measurements: referrals a second beside an ordinary relay, ``fsck`` beside fetching and hashing, proofs in small and large logs."""

"""Ways to sign in: a password with one-time codes, a passkey, or the organisation's identity provider."""

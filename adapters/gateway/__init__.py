"""The gateway: holds an agency's private keys; the only place where content is in clear (DESIGN, Who runs what)."""

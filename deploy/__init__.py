"""What joins and runs the halves: the command line, the authority, the embedded stack."""

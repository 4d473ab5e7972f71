"""The console: pages for auditors, information-governance officers, operators and inspectors. The hub has no content, so neither has it."""

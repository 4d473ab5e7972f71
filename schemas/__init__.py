"""The contract: what a gateway and the hub must agree on. Pure: no input or output, no clock, no global state."""

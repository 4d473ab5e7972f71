"""The gateway's local API, for the record and case systems on the same machine."""

"""What tests share: real servers, certificates, a proxy that can be cut."""

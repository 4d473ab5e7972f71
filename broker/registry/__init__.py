"""The registry: directory versions that the authority signed, encryption keys that agencies announced, enrolments, and who is calling.

It stores and passes on. It can write none of what it distributes: every directory is verified against the pinned authority keys when it comes in
and again when it is loaded, every key announcement against the agency's identity keys of that directory.
"""

from broker.registry.registry import Registry
from broker.registry.snapshot import DirectorySnapshot
from schemas.signed_directory import EncryptionKey

__all__ = ["DirectorySnapshot", "EncryptionKey", "Registry"]

"""Signed objects of the ``type`` registry, and the events that a delivery carries."""

from schemas.objects.signed import OBJECT_TYPES, digest_object, peek_object, sign_object, type_header, verify_object

__all__ = ["OBJECT_TYPES", "digest_object", "peek_object", "sign_object", "type_header", "verify_object"]

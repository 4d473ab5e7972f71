"""Signed objects of the ``type`` registry, and the event that a delivery carries.

``schemas.objects.registry`` reads objects as models; importing it from here would make a circle with ``schemas.envelope``.
"""

from schemas.objects.signed import OBJECT_TYPES, digest_object, peek_object, sign_object, type_header, verify_object

__all__ = ["OBJECT_TYPES", "digest_object", "peek_object", "sign_object", "type_header", "verify_object"]

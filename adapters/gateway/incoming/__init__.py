"""The receiving half: deliveries are verified, opened, kept in the inbox, handed on, and answered with signed receipts."""

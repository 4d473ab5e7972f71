"""The sending half: what a record system hands over is stored, planned, sealed, published and followed to its receipts."""

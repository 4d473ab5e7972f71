"""Delivery: what leaves the hub. Bodies, the dispatcher that publishes them, the relay that offers them again, notices."""

"""The hub: routes sealed referrals, decides on need-to-know, keeps the message log. It cannot read content."""

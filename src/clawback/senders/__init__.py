"""Everything that sends webhooks: how each signs, and what its requests say. Pure."""

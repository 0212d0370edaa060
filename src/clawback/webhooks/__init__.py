"""The webhooks room: from a POST to a stored event. Only `endpoint` does I/O, the rest decides in pure code."""

"""Sessions: who is connected, what each may be given next, and the WebSocket they speak over."""

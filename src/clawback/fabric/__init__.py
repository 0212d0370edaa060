"""The fabric: JetStream itself, as Clawback uses it, and the only package that imports nats."""

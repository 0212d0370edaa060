"""The fabric: JetStream as Clawback uses it, and the only package that imports nats."""

"""What Clawback keeps in JetStream, a file for each kind of thing. It speaks to NATS through the fabric alone."""

"""The server as a process: the one place that constructs, listening, and what a connection may cost."""

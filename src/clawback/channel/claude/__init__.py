"""What is Claude Code's alone: how an event is put in front of it, and how what it saw is known."""

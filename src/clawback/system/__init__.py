"""What Clawback needs of the operating system: waits, child processes, private files."""

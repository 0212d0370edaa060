"""What people run beside the server and the channel: a module for each command, loaded when `cli/` calls it."""

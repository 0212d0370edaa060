"""The far end: the MCP program inside Claude Code. It sees wire, model and errors, and nothing else of ours."""

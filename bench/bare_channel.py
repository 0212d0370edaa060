"""
The yardstick of bench/channel_start.py: the least MCP server on stdio that the same SDK gives.

One tool, no configuration, no connection, no signals.

    python -m bench.bare_channel
"""

import asyncio
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server


async def main() -> None:
    server: Server = Server("bare")

    @server.list_tools()
    async def list_tools() -> list[types.Tool]:
        return [types.Tool(name="nothing", description="Does nothing.", inputSchema={"type": "object"})]

    @server.call_tool()
    async def call_tool(_name: str, _arguments: dict[str, Any]) -> list[types.TextContent]:
        return [types.TextContent(type="text", text="nothing")]

    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())

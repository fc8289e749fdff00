"""Where: projects, repositories, connections, credentials, environments and variables."""

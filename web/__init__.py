"""Who may see what: the aiohttp application, API, access control, CLI, configuration, pages. Wires everything."""

"""Who may do what: passwords, sessions, roles, areas, and the log of what was done."""

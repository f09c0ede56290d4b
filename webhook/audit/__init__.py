"""The audit log: what a line says, and what many of them tell. Pure reading and counting; who writes is the server."""

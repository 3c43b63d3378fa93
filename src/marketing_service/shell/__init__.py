"""Commands for people in a shell: they call the API, as a portal does, and need no other setting of the service."""

"""The HTTP API: routes, requests and responses, problems, the public pages, health and metrics."""

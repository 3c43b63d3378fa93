"""The HTTP edge: JSON in and out, problems, the public pages, health and metrics."""

"""The console: the web pages at `/marketing`. Static files, and the routes that serve them."""

from marketing_service.console.site import create_console_router

__all__ = ["create_console_router"]

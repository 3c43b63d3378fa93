"""The embedded default: real servers out of wheels, and stand-ins for what surrounds the service.

For development and tests only; nothing here is part of a deployment.
"""

"""The development stack: PostgreSQL and Valkey from Python wheels, and stand-ins for the systems around the service.

It is for development and tests only. A deployment does not use it.
"""

"""The development servers: PostgreSQL and Valkey from Python wheels, and a CRM, an inbox and a log-in in place of the
systems around the service.

It is for development and tests only. A deployment does not use it.
"""

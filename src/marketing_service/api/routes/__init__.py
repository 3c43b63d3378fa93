"""The routes, one module per resource; every router here is put into the application by `app`."""

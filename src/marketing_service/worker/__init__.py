"""The worker: its jobs, the sweep, and the process that runs them."""

"""The worker: arq jobs, the sweep, and the process around them."""

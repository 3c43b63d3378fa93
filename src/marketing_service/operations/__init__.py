"""What an operator runs from the command line, beside the processes of the service."""

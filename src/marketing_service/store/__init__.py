"""The tables, the row types, and every statement that moves no send and no counter."""

"""A model of the ledger: what the engine needs of PostgreSQL, in memory.

`rows` has the tables, `work` the transactions and their locks. The other modules have one function for each statement.
`statements` finds the function of a statement, and `database` makes the model look like a `Database`.

`tests/simulation/test_model.py` runs generated sequences against the model and against PostgreSQL, and compares both.
"""

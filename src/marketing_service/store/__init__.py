"""What PostgreSQL holds: the tables, the row types, and every statement that moves no send and no counter.

There is one module per subject: a statement about opt-outs is in `opt_outs`, one about batches in `batches`. Each takes
a connection inside a transaction and returns frozen row types. `tables` has the tables and their constraints, `states`
the states and reasons, `rules` the conditions that several statements share. A statement that changes the state of a
send, a counter of a campaign or the state of a campaign is in `ledger` instead.
"""

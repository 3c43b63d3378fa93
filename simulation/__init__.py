"""The engine in simulated worlds: a virtual clock, a seeded scheduler, a model of the ledger, and a scripted relay.

`docs/simulation.md` says what is modelled and how to read a story.
"""

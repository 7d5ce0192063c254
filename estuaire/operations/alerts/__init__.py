"""Tells people what needs a hand: conditions read from the ledger, by e-mail and webhook (docs/engineers/alerts.md, docs/decisions/0021).

Security property: a message and its row hold what the ledger holds of a condition (codes, names of deliveries, sentences of typed errors),
never a patient's value, an address or a secret.
"""

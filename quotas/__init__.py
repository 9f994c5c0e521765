"""The quota ledger: accounts, limits, reservations, entries, prover. Knows no clouds."""

"""Use cases: authorise, decide, write, audit, enqueue. Never commit, never HTTP."""

"""Pure rules and words: no database, no network, standard library only."""

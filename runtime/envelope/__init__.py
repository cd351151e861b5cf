"""The safety envelope: invariants of the commanded reference, and guards on what was measured."""

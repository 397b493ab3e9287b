"""How often a session may send."""

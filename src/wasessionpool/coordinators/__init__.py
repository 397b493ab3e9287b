"""Who owns a session."""

"""Where sessions are remembered."""

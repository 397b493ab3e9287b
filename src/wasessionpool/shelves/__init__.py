"""Where small things are kept by key."""

"""What follows a pool and tells others."""

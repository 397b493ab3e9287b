"""A package, so that ``python -m tests.chaos`` finds this directory and no other of that name."""

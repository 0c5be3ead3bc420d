"""Asking git about the repository that an inventory lies in: who git runs as, and how it is called."""

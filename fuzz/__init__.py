"""Fuzzing of everything that reads octets from the network."""

"""Tests of dkconf/filter."""

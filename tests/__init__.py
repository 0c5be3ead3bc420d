"""The tests, room by room; `tests.lab` is the private lab that live tests and the demo run in."""

"""Inventory + host -> DesiredState: managed files, TXT records, key files, services. Pure."""

from dkconf.desired.builder import build, find_host
from dkconf.desired.errors import NotRenderable
from dkconf.desired.records import records
from dkconf.desired.render import render_tree, write_tree

__all__ = ["NotRenderable", "build", "find_host", "records", "render_tree", "write_tree"]

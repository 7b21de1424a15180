"""Writes the README of every step from its component.py."""

from millrace.authoring import interface

for name in interface.names():
    path = interface.folder() / name / "README.md"
    path.write_text(interface.readme(interface.of(name)), encoding="utf-8")

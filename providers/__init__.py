"""Drivers for kinds of infrastructure behind one small contract: base.py says what they promise."""

"""cloudmgr: one management plane over many unlike clouds."""

__version__ = "0.1.0"

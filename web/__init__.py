"""The console: server-rendered pages, a face and not a brain."""

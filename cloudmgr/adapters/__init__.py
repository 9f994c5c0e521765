"""Doors to the outside: queue, Ansible, secrets, crypto."""

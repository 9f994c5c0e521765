"""Ansible content: roles, playbooks and the catalogue that describes them."""

"""The settings file that `init` writes: every section with its defaults, commented out, and one backend as an example."""

SETTINGS_TEMPLATE = """\
# Settings of cloudmgr. Every key, with its default and meaning: docs/operating.md.
# Any key can come from the environment instead: CLOUDMGR_WEB__PORT=8080.
# `cloudmgr config check` tells what is wrong before anything starts.

# [database]
# url = "postgresql://cloudmgr@db.example/cloudmgr"   # left out: cloudmgr.db in this folder

# [web]
# host = "127.0.0.1"           # elsewhere needs tls_cert and tls_key, or trusted_proxies
# port = 8000
# trusted_proxies = ["127.0.0.1"]

# [worker]
# request_concurrency = 16
# server_concurrency = 16

# [security]
# session_idle_minutes = 30
# password_min_length = 8

# [policy]
# lease_reminder_days = [60, 30, 7]

# One section a cloud platform. Secrets are never written here: name a file or an environment variable.
# [[backends]]
# name = "yl-kvm"
# title = "岳麓区政务云"
# provider = "libvirt"
# tier = "district"
# datacenter = "岳麓机房"
# owner = "430104"             # code of the organization it belongs to; left out: the whole city's
# uri = "qemu+ssh://cloudmgr@kvm1.example/system"
# network_zones = { default = "政务外网区" }
"""

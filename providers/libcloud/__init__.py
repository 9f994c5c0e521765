"""Any cloud that Apache Libcloud reaches: EC2's API in full, every other compute driver by its standard calls."""

"""VMware vCenter through pyVmomi: clones of templates, found by an instance UUID that is the token."""

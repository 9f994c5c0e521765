"""KVM and QEMU hosts through libvirt: the embedded backend, and the one that builds real servers in the lab."""

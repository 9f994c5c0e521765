"""What stands in for hypervisor, switch and disk in the lab; everything above them is OpenStack's own code."""

"""What a new installation is born with: standard network zones, and the sample city for the demonstration."""

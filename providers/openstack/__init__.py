"""OpenStack: Nova, Neutron, Cinder and Glance through Apache Libcloud's connections."""

"""What a container's network is made of: bridges, veth pairs, addresses, NAT rules and names.

Knows nothing of containers or of Docker's words: it is told addresses and names and makes them true.
"""

"""How operations are arranged: layers, blocks, backbone. State in, state out at every level."""

"""Training of the networks in ``edge_ser.models``: augmentation, features, loop, protocols."""

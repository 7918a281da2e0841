"""One file that takes a board from nothing to a running service, without a network."""

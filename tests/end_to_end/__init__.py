"""What tokenguard does in a cluster, told by kubectl alone: the same cases for a bare control plane and for kind."""

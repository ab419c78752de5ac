//! Records of containers: what a power cut, a lost runtime folder or a half-made creation leaves.

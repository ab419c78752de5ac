//! Capability names and the rules of `--cap-add` and `--cap-drop`. Pure.

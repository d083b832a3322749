"""Drawing what --trace has recorded."""

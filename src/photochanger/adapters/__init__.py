"""One outside technology each. Adapters implement ports and never import one another."""

"""What several parts of the package share; imports nothing by itself."""

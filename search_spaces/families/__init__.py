"""The spaces of one family of networks each: one module per family, with a function `space`."""

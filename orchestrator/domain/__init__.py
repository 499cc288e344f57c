"""The rules of the product, pure: no I/O, clock, randomness or settings of its own. Everything else depends on this."""

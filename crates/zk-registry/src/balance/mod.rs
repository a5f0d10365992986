//! Choosing an instance, and surviving the ones that fail.

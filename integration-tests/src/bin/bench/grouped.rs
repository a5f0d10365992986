//! Large numbers as people read them.

/// `10000` as `10,000`.
pub(crate) fn grouped(size: usize) -> String {
    if size < 1_000 { size.to_string() } else { format!("{},{:03}", size / 1_000, size % 1_000) }
}

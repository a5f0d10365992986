//! What a packet is read by. Integers are big-endian; a string or buffer has its length in front, -1 meaning null.

use bytes::Bytes;

/// What is left of a packet. Every method answers `None` when the packet is too short or makes no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        self.take::<1>().map(|[byte]| byte != 0)
    }

    /// The bytes, or that they are null.
    pub(super) fn buffer(&mut self) -> Option<Option<Bytes>> {
        let length = self.int()?;
        if length == -1 {
            return Some(None);
        }
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(Some(Bytes::copy_from_slice(taken)))
    }

    /// The text, or that it is null. What is no UTF-8 is replaced.
    pub(super) fn text(&mut self) -> Option<Option<String>> {
        Some(self.buffer()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// A list, or that it is null.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Option<Vec<T>>> {
        let count = self.int()?;
        // Nothing is reserved for a number that a client may have made up.
        Some(if count == -1 { None } else { Some((0..count).map(|_| item(self)).collect::<Option<_>>()?) })
    }
}

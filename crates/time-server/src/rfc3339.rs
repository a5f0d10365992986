//! Writes a time as every reply needs it: RFC 3339 in UTC with nine digits of a second.
//!
//! jiff's printer is general, which costs more than all else of a `now` together. Times that this one does not know, those
//! before 1970, are left to jiff.

use std::fmt::Write as _;
use std::io;

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;

/// Writes times; the same one again costs a copy, and requests that were received at once have one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Writer {
    last: Option<(Timestamp, [u8; 30])>,
}

impl Writer {
    /// Appends `time` to `dst`.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a buffer does not fail.
    pub(crate) fn write(&mut self, time: Timestamp, dst: &mut BytesMut) -> io::Result<()> {
        if let Some((last, text)) = &self.last
            && *last == time
        {
            dst.put_slice(text);
            return Ok(());
        }
        match (u64::try_from(time.as_second()), u32::try_from(time.subsec_nanosecond())) {
            (Ok(second), Ok(nanosecond)) => {
                let (_, text) = self.last.insert((time, text(second, nanosecond)));
                dst.put_slice(text);
            }
            _ => write!(dst, "{time:.9}").map_err(io::Error::other)?,
        }
        Ok(())
    }
}

/// No timestamp is later than the year 9999: the year has four digits, and everything here is small.
fn text(second: u64, nanosecond: u32) -> [u8; 30] {
    let (year, month, day) = date((second / 86_400) as u32);
    let time = (second % 86_400) as u32;
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let pairs = [
        (0, year / 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, time / 3_600),
        (14, time / 60 % 60),
        (17, time % 60),
        (21, nanosecond / 1_000_000 % 100),
        (23, nanosecond / 10_000 % 100),
        (25, nanosecond / 100 % 100),
        (27, nanosecond % 100),
    ];
    for (at, pair) in pairs {
        text[at] += (pair / 10) as u8;
        text[at + 1] += (pair % 10) as u8;
    }
    text[20] += (nanosecond / 100_000_000) as u8;
    text
}

/// The year, month and day of a day that is counted from 1970-01-01.
///
/// A year that begins in March has its leap day at its end, and months whose lengths follow a line: see "Euclidean affine
/// functions and their application to calendar algorithms" by Neri and Schneider, or Hinnant's `civil_from_days`.
fn date(days: u32) -> (u32, u32, u32) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u32::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(time: Timestamp) -> String {
        let (mut writer, mut dst) = (Writer::default(), BytesMut::new());
        writer.write(time, &mut dst).unwrap();
        let first = dst.split();
        writer.write(time, &mut dst).unwrap();
        assert_eq!(first, dst, "the second time, too");
        String::from_utf8(dst.to_vec()).unwrap()
    }

    #[test]
    fn every_day_of_the_calendar_is_written_as_jiff_writes_it() {
        // Then it repeats itself.
        for day in -1..=400 * 366 {
            let time = Timestamp::from_second(day * 86_400).unwrap();
            assert_eq!(written(time), format!("{time:.9}"));
        }
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            assert_eq!(written(time), format!("{time:.9}"));
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_written_as_jiff_writes_it(
            nanosecond in Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond(),
        ) {
            let time = Timestamp::from_nanosecond(nanosecond).unwrap();
            prop_assert_eq!(written(time), format!("{time:.9}"));
        }
    }
}

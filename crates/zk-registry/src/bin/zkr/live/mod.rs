//! A whole fleet as it is now and what happened to it a moment ago: what `top` and `web` show.

mod board;
mod event;
mod now;
mod sort;
mod watching;

pub(crate) use self::board::{Board, News, Shape};
pub(crate) use self::event::{Event, What};
pub(crate) use self::now::Now;
pub(crate) use self::sort::Sort;
pub(crate) use self::watching::watching;

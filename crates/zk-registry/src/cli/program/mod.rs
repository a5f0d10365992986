//! What the programs of this project share beyond their flags: lines of output, complaints, the log, an early end.

mod complaint;
mod log;
mod output;
mod stop;

pub use complaint::complain;
pub use log::log;
pub use output::{Flush, Format, Output, Paint, column, column_width};
pub use stop::stop_at_the_first_signal;

//! The formats by the words that select them in configuration.

use std::sync::Arc;

use super::Format;
use super::curator::{Curator, CuratorStrict};
use super::plain::Plain;
use super::spring::Spring;
use crate::error::{Error, ErrorKind};

/// The format of that name: `curator`, `curator-strict`, `plain` or `spring`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for any other word.
pub fn named(name: &str) -> Result<Arc<dyn Format>, Error> {
    match name {
        "curator" => Ok(Arc::new(Curator)),
        "curator-strict" => Ok(Arc::new(CuratorStrict)),
        "plain" => Ok(Arc::new(Plain)),
        "spring" => Ok(Arc::new(Spring)),
        _ => {
            let message = format!("unknown format {name:?}; use curator, curator-strict, plain or spring");
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

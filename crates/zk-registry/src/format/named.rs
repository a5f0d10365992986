//! The formats by the words that select them in configuration.

use std::sync::Arc;

use super::Format;
use super::armeria::Armeria;
use super::curator::{Curator, CuratorStrict};
use super::dubbo::Dubbo;
use super::dubbo_app::DubboApp;
use super::kitex::Kitex;
use super::kratos::Kratos;
use super::motan::Motan;
use super::nerve::Nerve;
use super::parameters::Parameters;
use super::plain::Plain;
use super::serverset::ServerSet;
use super::spring::Spring;
use crate::error::{Error, ErrorKind};

/// The words of all formats.
pub const NAMES: [&str; 12] = [
    "armeria",
    "curator",
    "curator-strict",
    "dubbo",
    "dubbo-app",
    "kitex",
    "kratos",
    "motan",
    "nerve",
    "plain",
    "serverset",
    "spring",
];

/// The format of one of the [`NAMES`], with its parameters if it has any: `dubbo:group=g,version=1.0.0,protocol=tri`.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] for any other word, a parameter that the format does not know, or a value that it cannot carry.
pub fn named(name: &str) -> Result<Arc<dyn Format>, Error> {
    let parameters = Parameters::split(name)?;
    let without: Arc<dyn Format> = match parameters.word() {
        "dubbo" => return Ok(Arc::new(Dubbo::with_parameters(parameters)?)),
        "dubbo-app" => return Ok(Arc::new(DubboApp::with_parameters(parameters)?)),
        "kratos" => return Ok(Arc::new(Kratos::with_parameters(parameters)?)),
        "motan" => return Ok(Arc::new(Motan::with_parameters(parameters)?)),
        "nerve" => return Ok(Arc::new(Nerve::with_parameters(parameters)?)),
        "serverset" => return Ok(Arc::new(ServerSet::with_parameters(parameters)?)),
        "armeria" => Arc::new(Armeria),
        "curator" => Arc::new(Curator),
        "curator-strict" => Arc::new(CuratorStrict),
        "kitex" => Arc::new(Kitex),
        "plain" => Arc::new(Plain),
        "spring" => Arc::new(Spring),
        _ => {
            let message = format!("unknown format {name:?}; use one of {}", NAMES.join(", "));
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    };
    parameters.end()?;
    Ok(without)
}

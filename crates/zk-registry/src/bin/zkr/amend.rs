//! One guarded write to one instance: what is wished for, and whether it is so.

use std::fmt;
use std::num::NonZeroU16;

use zk_registry::cli::FormatName;
use zk_registry::operate::{Inspection, Operator};
use zk_registry::{Error, ErrorKind, Instance, InstanceId, ServiceName, Status, Zxid};

use crate::compare::differences;
use crate::exit::Failure;
use crate::fleet::not_there;

/// What is to become of an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// Draining or up, and why.
    Status(Status, Option<String>),
    Weight(NonZeroU16),
}

impl Wish {
    /// Fails where the format lets only the owner of an instance change it so.
    pub(crate) fn check(&self, format: &FormatName) -> Result<(), Error> {
        match self {
            Self::Status(..) => format.check_drain(),
            Self::Weight(_) => format.check_weight(),
        }
    }

    pub(crate) fn is_met_by(&self, instance: &Instance) -> bool {
        match self {
            Self::Status(status, _) => instance.status() == *status,
            Self::Weight(weight) => instance.weight() == *weight,
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(Status::Draining, _) => f.write_str("drain"),
            Self::Status(..) => f.write_str("undrain"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Amended {
    /// It is so already.
    Already,
    /// It was written, and these are the differences.
    Written(Box<Inspection>, Vec<String>),
}

/// Writes what is wished for, unless it is so already. `shown` is the write that last changed the instance as it was decided on: a
/// later one refuses the change.
pub(crate) async fn amend(
    operator: &Operator,
    service: &ServiceName,
    id: &InstanceId,
    wish: &Wish,
    shown: Option<Zxid>,
) -> Result<Amended, Failure> {
    let Some(seen) = operator.inspect(service, id.as_str()).await? else {
        return Err(not_there(operator, service, id.as_str()).await);
    };
    if shown.is_some_and(|shown| shown != seen.modified()) {
        return Err(Failure::Refused(format!("{id}: somebody wrote it meanwhile; look again")));
    }
    let before = seen.instance().map_err(|why| {
        Failure::Refused(format!("{}: it is no instance: {why}; see `zkr explain`", seen.path()))
    })?;
    if wish.is_met_by(before) {
        return Ok(Amended::Already);
    }
    let written = match wish {
        Wish::Status(status, reason) => operator.set_status(&seen, *status, reason.as_deref()).await,
        Wish::Weight(weight) => operator.set_weight(&seen, *weight).await,
    };
    let written = written.map_err(|error| match error.kind() {
        ErrorKind::Invalid | ErrorKind::NoAuth => Failure::Refused(error.to_string()),
        _ => error.into(),
    })?;
    let changed = written.instance().map(|after| differences(before, after)).unwrap_or_default();
    Ok(Amended::Written(Box::new(written), changed))
}

/// A weight, as a person writes it.
pub(crate) fn weight(text: &str) -> Result<NonZeroU16, &'static str> {
    text.parse().map_err(|_| "use a whole number from 1 to 65535; to send no calls at all, drain it")
}

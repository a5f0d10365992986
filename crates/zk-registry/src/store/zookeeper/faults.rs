//! The client crate's errors in our words.
//!
//! Requests that were under way when the connection broke fail with whatever broke it, not with one error. So only what is
//! known to be a refusal counts as one; everything else may have been executed.

use zookeeper_client::{Error, MultiWriteError};

use super::super::Fault;

/// The code of ZooKeeper's `EphemeralOnLocalSessionException`, which the client crate does not name.
const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;

pub(super) fn fault(error: Error) -> Fault {
    match error {
        Error::AuthFailed => Fault::AuthFailed,
        Error::BadVersion => Fault::BadVersion,
        Error::ClientClosed | Error::SessionExpired => Fault::Over,
        Error::InvalidAcl => Fault::InvalidAcl,
        Error::NoAuth => Fault::NoAuth,
        Error::NoChildrenForEphemerals => Fault::NoChildrenForEphemerals,
        Error::NoNode => Fault::NoNode,
        Error::NodeExists => Fault::NodeExists,
        Error::NotEmpty => Fault::NotEmpty,
        Error::Unimplemented => Fault::Unimplemented,
        Error::BadArguments(_)
        | Error::MarshallingError
        | Error::NoWatcher
        | Error::NotReadOnly
        | Error::QuotaExceeded
        | Error::Throttled => Fault::Definite(error.to_string()),
        Error::UnexpectedErrorCode(EPHEMERAL_ON_LOCAL_SESSION) => Fault::Definite(
            "the session is local to its server (localSessionsEnabled), and may own no ephemeral node"
                .to_owned(),
        ),
        error => Fault::Ambiguous(error.to_string()),
    }
}

pub(super) fn multi_fault(error: MultiWriteError) -> Fault {
    match error {
        MultiWriteError::RequestFailed { source } => fault(source),
        MultiWriteError::OperationFailed { index, source } => {
            let fault = match fault(source) {
                // The server has refused it, for whatever reason: nothing of a failed multi is executed.
                Fault::Ambiguous(why) => Fault::Definite(why),
                fault => fault,
            };
            Fault::Multi { index, fault: Box::new(fault) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_definite() {
        assert!(matches!(fault(Error::NodeExists), Fault::NodeExists));
        assert!(matches!(fault(Error::QuotaExceeded), Fault::Definite(_)));
        assert!(matches!(fault(Error::UnexpectedErrorCode(-120)), Fault::Definite(_)));
    }

    #[test]
    fn whatever_is_not_known_to_be_a_refusal_is_ambiguous() {
        for error in [
            Error::ConnectionLoss,
            Error::Timeout,
            Error::UnexpectedError("?".into()),
            Error::UnexpectedErrorCode(-1),
        ] {
            assert!(matches!(fault(error), Fault::Ambiguous(_)));
        }
    }

    #[test]
    fn an_operation_that_fails_a_multi_is_never_ambiguous() {
        let error = MultiWriteError::OperationFailed { index: 3, source: Error::UnexpectedErrorCode(-99) };
        let Fault::Multi { index: 3, fault } = multi_fault(error) else { panic!() };
        assert!(matches!(*fault, Fault::Definite(_)));
    }
}

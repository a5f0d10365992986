//! The rounds that are under way: one that may ask for anything, and beside it transactions of registrations that filled up
//! while it was, so that the server is not idle while the answers of a burst's beginning are taken up.

use std::future::{Future, pending};
use std::pin::Pin;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::connection::Asked;
use super::round::Answers;

/// How many registrations a round carries at most.
const ROUND: usize = 4_000;
/// How many full transactions are under way at once beside the round.
const FULL_AT_ONCE: usize = 4;

/// The rounds under way.
pub(super) struct UnderWay {
    /// How many registrations fill a transaction.
    transaction: usize,
    round: Option<BoxFuture<'static, (Asked, Answers)>>,
    full: FuturesUnordered<BoxFuture<'static, (Asked, Answers)>>,
}

/// What may be sent now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Room {
    /// Anything.
    Round,
    /// Registrations alone, of which there are enough for a transaction.
    Full,
}

impl UnderWay {
    pub(super) fn new(transaction: usize) -> Self {
        Self { transaction, round: None, full: FuturesUnordered::new() }
    }

    /// What may be sent now, with so many registrations due; `None`: nothing.
    pub(super) fn room(&self, due: usize) -> Option<Room> {
        if self.round.is_none() {
            Some(Room::Round)
        } else {
            (due >= self.transaction && self.full.len() < FULL_AT_ONCE).then_some(Room::Full)
        }
    }

    /// How many registrations fit into it.
    pub(super) fn most(&self, room: Room) -> usize {
        match room {
            Room::Round => ROUND,
            Room::Full => self.transaction,
        }
    }

    pub(super) fn sent(
        &mut self,
        room: Room,
        asked: Asked,
        answers: impl Future<Output = Answers> + Send + 'static,
    ) {
        let answers = answers.map(move |answers| (asked, answers)).boxed();
        match room {
            Room::Round => self.round = Some(answers),
            Room::Full => self.full.push(answers),
        }
    }

    /// The next answers, and on which connection they were asked for. Cancel safe.
    pub(super) async fn answers(&mut self) -> (Asked, Answers) {
        let round = async {
            match &mut self.round {
                Some(round) => Pin::new(round).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answers = round => {
                self.round = None;
                answers
            }
            Some(answers) = self.full.next() => answers,
        }
    }

    /// Forgets all of them: whatever they would say is of a session that is over.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.transaction);
    }
}

//! tower's power of two choices as a contestant, with either of its two measures of load.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{Stream, stream};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tower::balance::p2c::Balance;
use tower::discover::Change;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover};
use tower::{BoxError, Service};

use super::race::Contestant;

type Changes = RefCell<VecDeque<Change<usize, Server>>>;

type Answer = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

pub(crate) struct Towers {
    balance: Box<dyn FnMut() -> Answer>,
    fleet: Rc<Fleet>,
    answers: Vec<Option<Answer>>,
}

/// What the servers share with the contestant.
#[derive(Default)]
struct Fleet {
    /// What comes and goes, as the balancer has not heard yet.
    changes: Changes,
    /// The server that was chosen last.
    chosen: Cell<usize>,
    /// Whether each call succeeded, as far as it is over.
    done: RefCell<Vec<Option<bool>>>,
}

impl Towers {
    /// Load is the average answer time and the calls in flight. linkerd's default for what was never measured, and its decay.
    pub(crate) fn peak_ewma(servers: usize, seed: u64) -> Self {
        let fleet = fleet(servers);
        let (unknown, decay) = (Duration::from_millis(30), Duration::from_secs(10));
        let discover =
            PeakEwmaDiscover::new::<usize>(changes(&fleet), unknown, decay, CompleteOnResponse::default());
        Self::new(Balance::from_rng(discover, Chance(SmallRng::seed_from_u64(seed))), fleet)
    }

    /// Load is the calls in flight.
    pub(crate) fn pending_requests(servers: usize, seed: u64) -> Self {
        let fleet = fleet(servers);
        let discover = PendingRequestsDiscover::new(changes(&fleet), CompleteOnResponse::default());
        Self::new(Balance::from_rng(discover, Chance(SmallRng::seed_from_u64(seed))), fleet)
    }

    fn new<S>(mut balance: S, fleet: Rc<Fleet>) -> Self
    where
        S: Service<usize, Response = (), Error = BoxError> + 'static,
        S::Future: 'static,
    {
        let calls = Rc::clone(&fleet);
        let call = move || -> Answer {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(balance.poll_ready(&mut cx).is_ready(), "every server is always ready");
            let call = calls.done.borrow().len();
            calls.done.borrow_mut().push(None);
            Box::pin(balance.call(call))
        };
        Self { balance: Box::new(call), fleet, answers: Vec::new() }
    }

    /// Another process takes the place of this server.
    pub(crate) fn restart(&self, place: usize) {
        let server = Server { place, fleet: Rc::clone(&self.fleet) };
        self.fleet.changes.borrow_mut().extend([Change::Remove(place), Change::Insert(place, server)]);
    }
}

impl Contestant for Towers {
    fn begin(&mut self, call: usize) -> usize {
        assert_eq!(call, self.answers.len(), "calls are counted");
        self.answers.push(Some((self.balance)()));
        self.fleet.chosen.get()
    }

    fn end(&mut self, call: usize, succeeded: bool) {
        self.fleet.done.borrow_mut()[call] = Some(succeeded);
        let mut answer = self.answers[call].take().expect("a call ends once");
        let answered = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(
            matches!(answered, Poll::Ready(answer) if answer.is_ok() == succeeded),
            "the answer is there"
        );
    }
}

/// A server that says that it was chosen, and answers when the race says so.
struct Server {
    place: usize,
    fleet: Rc<Fleet>,
}

impl Service<usize> for Server {
    type Response = ();
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: usize) -> Answer {
        self.fleet.chosen.set(self.place);
        let fleet = Rc::clone(&self.fleet);
        Box::pin(poll_fn(move |_| match fleet.done.borrow()[call] {
            None => Poll::Pending,
            Some(true) => Poll::Ready(Ok(())),
            Some(false) => Poll::Ready(Err("it fails".into())),
        }))
    }
}

fn fleet(servers: usize) -> Rc<Fleet> {
    let fleet = Rc::<Fleet>::default();
    let server = |place| Change::Insert(place, Server { place, fleet: Rc::clone(&fleet) });
    fleet.changes.borrow_mut().extend((0..servers).map(server));
    fleet
}

/// Servers as they come and go; the stream never ends.
fn changes(
    fleet: &Rc<Fleet>,
) -> impl Stream<Item = Result<Change<usize, Server>, Infallible>> + Unpin + use<> {
    let fleet = Rc::clone(fleet);
    stream::poll_fn(move |_| match fleet.changes.borrow_mut().pop_front() {
        Some(change) => Poll::Ready(Some(Ok(change))),
        None => Poll::Pending,
    })
}

/// The same generator as ours has.
struct Chance(SmallRng);

impl tower::util::rng::Rng for Chance {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

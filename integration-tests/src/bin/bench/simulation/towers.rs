//! tower's power of two choices as a contestant, with either of its two measures of load.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover, PendingRequestsDiscover};
use tower::{BoxError, Service};

use super::fleet::SERVERS;
use super::race::Contestant;

type Answer = Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

pub(super) struct Towers {
    balance: Box<dyn FnMut() -> Answer>,
    chosen: Rc<Cell<usize>>,
    done: Rc<RefCell<Vec<Option<bool>>>>,
    answers: Vec<Option<Answer>>,
}

impl Towers {
    /// Load is the average answer time and the calls in flight. linkerd's default for what was never measured, and its decay.
    pub(super) fn peak_ewma(seed: u64) -> Self {
        let (servers, chosen, done) = servers();
        let (unknown, decay) = (Duration::from_millis(30), Duration::from_secs(10));
        let discover = PeakEwmaDiscover::new::<usize>(servers, unknown, decay, CompleteOnResponse::default());
        Self::new(Balance::from_rng(discover, Chance(SmallRng::seed_from_u64(seed))), chosen, done)
    }

    /// Load is the calls in flight.
    pub(super) fn pending_requests(seed: u64) -> Self {
        let (servers, chosen, done) = servers();
        let discover = PendingRequestsDiscover::new(servers, CompleteOnResponse::default());
        Self::new(Balance::from_rng(discover, Chance(SmallRng::seed_from_u64(seed))), chosen, done)
    }

    fn new<S>(mut balance: S, chosen: Rc<Cell<usize>>, done: Rc<RefCell<Vec<Option<bool>>>>) -> Self
    where
        S: Service<usize, Response = (), Error = BoxError> + 'static,
        S::Future: 'static,
    {
        let calls = Rc::clone(&done);
        let call = move || -> Answer {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(balance.poll_ready(&mut cx).is_ready(), "every server is always ready");
            let call = calls.borrow().len();
            calls.borrow_mut().push(None);
            Box::pin(balance.call(call))
        };
        Self { balance: Box::new(call), chosen, done, answers: Vec::new() }
    }
}

impl Contestant for Towers {
    fn begin(&mut self, call: usize) -> usize {
        assert_eq!(call, self.answers.len(), "calls are counted");
        self.answers.push(Some((self.balance)()));
        self.chosen.get()
    }

    fn end(&mut self, call: usize, succeeded: bool) {
        self.done.borrow_mut()[call] = Some(succeeded);
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
    chosen: Rc<Cell<usize>>,
    done: Rc<RefCell<Vec<Option<bool>>>>,
}

impl Service<usize> for Server {
    type Response = ();
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: usize) -> Answer {
        self.chosen.set(self.place);
        let done = Rc::clone(&self.done);
        Box::pin(poll_fn(move |_| match done.borrow()[call] {
            None => Poll::Pending,
            Some(true) => Poll::Ready(Ok(())),
            Some(false) => Poll::Ready(Err("it fails".into())),
        }))
    }
}

#[expect(clippy::type_complexity, reason = "three handles of one thing, taken apart at once")]
fn servers() -> (ServiceList<Vec<Server>>, Rc<Cell<usize>>, Rc<RefCell<Vec<Option<bool>>>>) {
    let (chosen, done) = (Rc::default(), Rc::default());
    let server = |place| Server { place, chosen: Rc::clone(&chosen), done: Rc::clone(&done) };
    let list = (0..SERVERS).map(server).collect::<Vec<_>>();
    (ServiceList::new(list), chosen, done)
}

/// The same generator as ours has.
struct Chance(SmallRng);

impl tower::util::rng::Rng for Chance {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

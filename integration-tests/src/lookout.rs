//! Texts that are waited for in something that is drawn again and again, and when each was there first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

/// The texts that are waited for. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lookout(Arc<Mutex<Vec<Awaited>>>);

#[derive(Debug)]
struct Awaited {
    text: String,
    tell: oneshot::Sender<Instant>,
}

/// One text that is waited for.
#[derive(Debug)]
#[must_use = "it is waited for by `seen`"]
pub struct Sight {
    text: String,
    told: oneshot::Receiver<Instant>,
}

impl Lookout {
    /// Waits for a text from now on. One that is there already is seen with the next drawing.
    pub fn wait_for(&self, text: &str) -> Sight {
        let (tell, told) = oneshot::channel();
        self.awaited().push(Awaited { text: text.to_owned(), tell });
        Sight { text: text.to_owned(), told }
    }

    /// Something was drawn, and came at `at`: `shows` says which texts are in it.
    pub fn look(&self, at: Instant, shows: impl Fn(&str) -> bool) {
        for found in self.awaited().extract_if(.., |awaited| shows(&awaited.text)) {
            // Nobody has to wait to the end.
            let _ = found.tell.send(at);
        }
    }

    fn awaited(&self) -> MutexGuard<'_, Vec<Awaited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sight {
    /// When it was there first.
    ///
    /// # Panics
    ///
    /// When it does not come `within` that time.
    pub async fn seen(self, within: Duration) -> Instant {
        let Self { text, told } = self;
        let told = timeout(within, told).await.unwrap_or_else(|_| panic!("{text:?} was never drawn"));
        told.unwrap_or_else(|_| panic!("the drawing ended before {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_seen_when_it_is_drawn_first() {
        let lookout = Lookout::default();
        let (one, two) = (lookout.wait_for("one"), lookout.wait_for("two"));
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        lookout.look(first, |text| text == "one");
        lookout.look(second, |_| true);
        assert_eq!((one.seen(Duration::ZERO).await, two.seen(Duration::ZERO).await), (first, second));
    }
}

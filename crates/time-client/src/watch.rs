//! `time-client watch`: who comes and goes, until a signal.

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::printable::Printable;
use zk_registry::{Change, Closed, Freshness, Registry, ServiceWatch, Snapshot};

use crate::common_args::CommonArgs;
use crate::exit::Exit;
use crate::job::Job;
use crate::target::{Target, Unavailable};
use crate::{freshness, wall_clock};
use zk_registry::cli::program::{Format, Output, Paint};

/// What is to be done when `watch` was typed.
///
/// # Errors
///
/// The flag that cannot be used so.
pub(crate) fn prepare(args: CommonArgs) -> Result<Job, UsageError> {
    Job::of_common(args, run)
}

/// Shows each change until `stop`.
async fn run(
    target: Target,
    format: Format,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Unavailable> {
    let show = |events: Vec<Event>| {
        for event in events {
            match format {
                Format::Json => output.json(&event),
                Format::Text => output.line(&event.text(output.paint)),
            }
        }
    };
    let follow = async |_: &Registry, watch: &mut ServiceWatch| {
        let mut shown = watch.current().clone();
        show(first(&shown));
        loop {
            let newer = tokio::select! {
                changed = watch.changed() => match changed {
                    Ok(newer) => newer,
                    Err(Closed) => break,
                },
                () = output.reader_gone() => break,
                () = stop.cancelled() => break,
            };
            show(changes(&shown, newer));
            shown = newer.clone();
        }
        Ok(Exit::Answered)
    };
    match target.with_watch(stop, follow).await {
        Err(Unavailable::Interrupted) => Ok(Exit::Answered),
        watched => watched,
    }
}

/// One line.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Down {
        id: String,
        at_ns: u64,
    },
    Freshness {
        freshness: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        true_until_ns: Option<u64>,
        /// Why it is not live, where ZooKeeper said so.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        at_ns: u64,
    },
    Ready {
        count: usize,
        at_ns: u64,
    },
    Up {
        id: String,
        at_ns: u64,
    },
    Update {
        id: String,
        at_ns: u64,
    },
}

/// How it begins: how many there are, and whether that is certain.
fn first(snapshot: &Snapshot) -> Vec<Event> {
    let ready = Event::Ready { count: snapshot.len(), at_ns: wall_clock::now() };
    let doubt = (snapshot.freshness() != Freshness::Live).then(|| freshness_of(snapshot));
    [ready].into_iter().chain(doubt).collect()
}

/// What a newer snapshot says that the older one did not.
fn changes(older: &Snapshot, newer: &Snapshot) -> Vec<Event> {
    let at_ns = wall_clock::now();
    let members = older.diff(newer).map(|change| match change {
        Change::Added(member) => Event::Up { id: member.id().to_string(), at_ns },
        Change::Removed(member) => Event::Down { id: member.id().to_string(), at_ns },
        Change::Updated { new, .. } => Event::Update { id: new.id().to_string(), at_ns },
    });
    let turned = older.freshness().word() != newer.freshness().word()
        || (newer.cause().is_some() && older.cause() != newer.cause());
    members.chain(turned.then(|| freshness_of(newer))).collect()
}

fn freshness_of(snapshot: &Snapshot) -> Event {
    let freshness = snapshot.freshness();
    let (word, true_until_ns) = (freshness.word(), freshness::true_until(freshness));
    let reason = snapshot.cause().map(ToString::to_string);
    Event::Freshness { freshness: word, true_until_ns, reason, at_ns: wall_clock::now() }
}

impl Event {
    fn text(&self, paint: Paint) -> String {
        let (at_ns, what) = match self {
            Self::Down { id, at_ns } => (at_ns, format!("{}  {}", paint.bad("down  "), Printable(id))),
            Self::Freshness { freshness, true_until_ns, reason, at_ns } => {
                let until = true_until_ns.map(|until| format!(", true until {}", wall_clock::text(until)));
                let reason = reason.as_ref().map(|reason| format!(": {}", Printable(reason)));
                let (until, reason) = (until.unwrap_or_default(), reason.unwrap_or_default());
                (at_ns, format!("now {freshness}{until}{reason}"))
            }
            Self::Ready { count, at_ns } => {
                (at_ns, format!("ready   {count} instance{}", if *count == 1 { "" } else { "s" }))
            }
            Self::Up { id, at_ns } => (at_ns, format!("{}  {}", paint.good("up    "), Printable(id))),
            Self::Update { id, at_ns } => (at_ns, format!("update  {}", Printable(id))),
        };
        format!("{}  {what}", paint.faint(&wall_clock::text(*at_ns)))
    }
}

/// What `--help` says below the flags.
pub(crate) const HELP: &str = "\
Examples:
  time-client watch
  time-client watch --output json | while read -r event; do ...; done

Exit codes:
  0  ended by a signal, or nobody read on
  1  standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached within --wait";

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU16;

    use zk_registry::Instance;

    use super::*;
    use crate::documented;

    fn json(events: &[Event]) -> Vec<String> {
        let line = |event| serde_json::to_value(event).unwrap();
        let timeless = |mut value: serde_json::Value| {
            let at = value.as_object_mut().unwrap().remove("at_ns").unwrap();
            assert!(at.as_u64().unwrap() > 1_700_000_000_000_000_000);
            value.to_string()
        };
        events.iter().map(line).map(timeless).collect()
    }

    #[test]
    fn the_events_are_those_of_the_schema() {
        let service = "time".parse().unwrap();
        let instance = |port| Instance::new("10.0.0.1", port);
        let older = Snapshot::fixed(&service, [instance(1), instance(2)]);
        let newer =
            Snapshot::fixed(&service, [instance(2).with_weight(NonZeroU16::new(9).unwrap()), instance(3)]);
        assert_eq!(json(&first(&older)), [r#"{"count":2,"event":"ready"}"#]);
        let expected = [
            r#"{"event":"down","id":"10.0.0.1:1"}"#,
            r#"{"event":"update","id":"10.0.0.1:2"}"#,
            r#"{"event":"up","id":"10.0.0.1:3"}"#,
        ];
        assert_eq!(json(&changes(&older, &newer)), expected);
        assert_eq!(json(&changes(&older, &older)), [""; 0]);
    }

    #[test]
    fn why_the_service_cannot_be_read_is_told_once() {
        let pending = Snapshot::pending(&"time".parse().unwrap());
        let kind = zk_registry::ErrorKind::NoAuth;
        let hindered = pending.clone().with_cause(zk_registry::Error::new(kind, "it is forbidden"));
        let expected = [r#"{"event":"freshness","freshness":"pending","reason":"it is forbidden"}"#];
        assert_eq!(json(&changes(&pending, &hindered)), expected);
        assert_eq!(json(&changes(&hindered, &hindered)), [""; 0]);
    }

    pub(crate) fn lines() -> Vec<String> {
        let (id, at_ns) = ("127.0.0.1:8897".to_owned(), 1_795_380_726_123_456_789);
        let true_until_ns = Some(1_795_380_722_000_000_000);
        vec![
            documented::line(&Event::Ready { count: 3, at_ns }),
            documented::line(&Event::Up { id: id.clone(), at_ns }),
            documented::line(&Event::Update { id: id.clone(), at_ns }),
            documented::line(&Event::Down { id, at_ns }),
            documented::line(&Event::Freshness {
                freshness: "live",
                true_until_ns: None,
                reason: None,
                at_ns,
            }),
            documented::line(&Event::Freshness { freshness: "stale", true_until_ns, reason: None, at_ns }),
            documented::line(&Event::Freshness {
                freshness: "stale",
                true_until_ns,
                reason: Some("reading /services/time: ZooKeeper's access control forbids it".to_owned()),
                at_ns,
            }),
        ]
    }
}

//! `time-client query --offset`: whose clock is how far off ours.
//!
//! Each instance is asked `sync` some times, and the sample with the shortest round trip counts (the minimum filter of
//! NTP's clock filter algorithm, RFC 5905 section 10): queues and scheduling only ever make a sample worse. With t1 and t4
//! our clock at sending and receiving, t2 and t3 the server's at receiving and sending, the offset is
//! ((t2 - t1) + (t3 - t4)) / 2 and the round trip (t4 - t1) - (t3 - t2). How the round trip divides into there and back is
//! not known, so the true offset lies within half a round trip of the measured one; that bound is stated, and it is strict as
//! long as neither clock is set meanwhile. Nothing here sets a clock.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde::Serialize;
use time_server::protocol::Request;
use tokio_util::sync::CancellationToken;
use zk_registry::printable::Printable;
use zk_registry::{Instance, Member};

use crate::client::{Reading, Stamps, TimeClient};
use crate::exit::Exit;
use crate::fault::Fault;
use crate::wall_clock;
use zk_registry::cli::program::{Format, Output, column, column_width};

/// How many samples are taken of each instance if nothing else is said.
pub(crate) const SAMPLES: usize = 10;

/// After so many bad samples an instance is asked no more.
const BAD_SAMPLES: usize = 3;

/// A measured offset. Nanoseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Offset {
    /// How far the instance's clock is ahead of ours; negative when it is behind.
    offset: i64,
    /// The round trip without the server's part.
    round_trip: i64,
}

impl Offset {
    /// The offset and the round trip of one exchange; `t4` is our clock when the reply had come.
    ///
    /// # Errors
    ///
    /// [`Fault::Garbage`] for stamps that no server can have taken: it would have sent before it received, or have held the
    /// request for longer than the exchange took, or its clock is more than 292 years off, which has no bound to state.
    fn of(stamps: Stamps, t4: u64) -> Result<Self, Fault> {
        let Stamps { t1, t2, t3 } = stamps;
        let between = |from: u64, to: u64| i128::from(to) - i128::from(from);
        let lie = |what: &str| Fault::Garbage(format!("time stamps that cannot be true: {what}"));
        if t3 < t2 {
            return Err(lie("it sent the reply before it received the request"));
        }
        let round_trip = between(t1, t4) - between(t2, t3);
        if round_trip < 0 {
            return Err(lie("it held the request for longer than the exchange took"));
        }
        let offset = (between(t1, t2) - between(t3, t4)) / 2;
        match (i64::try_from(offset), i64::try_from(round_trip)) {
            (Ok(offset), Ok(round_trip)) => Ok(Self { offset, round_trip }),
            _ => Err(lie("its clock is more than 292 years off")),
        }
    }

    /// The one with the shorter round trip.
    fn or(self, other: Self) -> Self {
        if other.round_trip < self.round_trip { other } else { self }
    }

    /// The true offset is at most this far from the measured one.
    fn bound(self) -> i64 {
        (self.round_trip + 1) / 2
    }
}

/// Measures every instance, one after the other: measuring them at once would lengthen their round trips.
pub(crate) async fn run(
    client: &TimeClient,
    samples: NonZeroUsize,
    format: Format,
    quiet: bool,
    output: &Output,
    stop: &CancellationToken,
) -> Exit {
    let snapshot = client.snapshot();
    let mut fleet = Fleet::default();
    let width = column_width(snapshot.instances().map(|member| member.id().as_str()));
    for member in snapshot.instances() {
        let measured = tokio::select! {
            measured = measure(client, member, samples) => measured,
            () = stop.cancelled() => break,
        };
        match (format, quiet) {
            (_, true) => {}
            (Format::Json, _) => output.json(&Line::of(member, &measured)),
            (Format::Text, _) => output.line(&text(member, &measured, width, output)),
        }
        fleet.add(member, &measured);
    }
    match format {
        Format::Json => output.json(&FleetLine { offsets: fleet.json() }),
        Format::Text => output.line(&fleet.text()),
    }
    if fleet.failed == 0 { Exit::Answered } else { Exit::SomeFailed }
}

/// The best of some samples.
#[derive(Clone, Copy, Debug)]
struct Measured {
    best: Offset,
    /// How many samples it is the best of.
    samples: usize,
}

/// The best of some samples. The first one may have to connect, and a slow one does no harm: the shortest counts. A bad one
/// costs no good one; whose samples are bad again and again is not waited for as often as there are samples.
async fn measure(client: &TimeClient, instance: &Instance, samples: NonZeroUsize) -> Result<Measured, Fault> {
    let mut measured: Option<Measured> = None;
    let (mut faults, mut last) = (0, None);
    for _ in 0..samples.get() {
        let (sent, t1) = (Instant::now(), wall_clock::now());
        let sample = match client.ask_instance(instance, Request::Sync { t1 }).await {
            Ok(Reading::Stamps(stamps)) => {
                // By the clock that cannot be set: a step between t1 and t4 would look like a round trip.
                let elapsed = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
                Offset::of(stamps, t1.saturating_add(elapsed))
            }
            // The answer to `sync` is made of time stamps, or the client calls it garbage.
            Ok(Reading::Time(_)) => continue,
            Err(fault) => Err(fault),
        };
        match sample {
            Ok(sample) => {
                let (best, samples) =
                    measured.map_or((sample, 0), |measured| (measured.best.or(sample), measured.samples));
                measured = Some(Measured { best, samples: samples + 1 });
            }
            Err(fault) => {
                faults += 1;
                if faults == BAD_SAMPLES {
                    return measured.ok_or(fault);
                }
                last = Some(fault);
            }
        }
    }
    measured.ok_or_else(|| last.unwrap_or_else(|| Fault::Garbage("no time stamps".to_owned())))
}

/// What `--output json` writes for an instance.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Measured { instance: &'a str, ok: bool, offset_ns: i64, error_ns: i64, rtt_ns: i64, samples: usize },
    Failed { instance: &'a str, ok: bool, message: String },
}

impl<'a> Line<'a> {
    fn of(member: &'a Member, measured: &Result<Measured, Fault>) -> Self {
        let instance = member.id().as_str();
        match measured {
            Ok(Measured { best, samples }) => Self::Measured {
                instance,
                ok: true,
                offset_ns: best.offset,
                error_ns: best.bound(),
                rtt_ns: best.round_trip,
                samples: *samples,
            },
            Err(fault) => Self::Failed { instance, ok: false, message: fault.to_string() },
        }
    }
}

fn text(member: &Member, measured: &Result<Measured, Fault>, width: usize, output: &Output) -> String {
    let id = column(member.id().as_str(), width);
    match measured {
        Ok(Measured { best, .. }) => {
            let (offset, bound) = (signed(best.offset), plain(best.bound()));
            format!("{id}  {offset:>12} ± {bound}  round trip {}", plain(best.round_trip))
        }
        Err(fault) => format!("{id}  {}", output.paint.bad(&Printable(fault).to_string())),
    }
}

/// All instances together.
#[derive(Debug, Default)]
struct Fleet {
    measured: Vec<(String, Offset)>,
    failed: usize,
}

#[derive(Serialize)]
struct FleetLine {
    offsets: FleetJson,
}

#[derive(Debug, Eq, PartialEq, Serialize)]
struct FleetJson {
    measured: usize,
    failed: usize,
    /// The median offset: the least wrong clock is not known, but most are right.
    median_ns: Option<i64>,
    /// From the instance that is furthest behind to the one that is furthest ahead.
    spread_ns: Option<i64>,
    /// Whose offset differs most from the median.
    furthest: Option<String>,
    furthest_ns: Option<i64>,
}

impl Fleet {
    fn add(&mut self, member: &Member, measured: &Result<Measured, Fault>) {
        match measured {
            Ok(measured) => self.measured.push((member.id().to_string(), measured.best)),
            Err(_) => self.failed += 1,
        }
    }

    fn json(&self) -> FleetJson {
        let mut offsets: Vec<i64> = self.measured.iter().map(|(_, measured)| measured.offset).collect();
        offsets.sort_unstable();
        let median = offsets.get(offsets.len().saturating_sub(1) / 2).copied();
        let from_median = |offset: i64| offset.saturating_sub(median.unwrap_or(0));
        let furthest =
            self.measured.iter().max_by_key(|(_, measured)| from_median(measured.offset).saturating_abs());
        FleetJson {
            measured: self.measured.len(),
            failed: self.failed,
            median_ns: median,
            spread_ns: offsets.first().zip(offsets.last()).map(|(first, last)| last.saturating_sub(*first)),
            furthest: furthest.map(|(id, _)| id.clone()),
            furthest_ns: furthest.map(|(_, measured)| from_median(measured.offset)),
        }
    }

    fn text(&self) -> String {
        let FleetJson { measured, failed, median_ns, spread_ns, furthest, furthest_ns } = self.json();
        let mut text = format!("{measured} measured, {failed} failed");
        if let (Some(median), Some(spread)) = (median_ns, spread_ns) {
            text += &format!(", median {} from our clock, spread {}", signed(median), plain(spread));
        }
        if let (Some(id), Some(off)) = (furthest, furthest_ns) {
            text += &format!("\nfurthest from the median: {}, {}", Printable(id), signed(off));
        }
        text
    }
}

fn plain(ns: i64) -> String {
    format!("{:.1?}", Duration::from_nanos(ns.unsigned_abs()))
}

fn signed(ns: i64) -> String {
    format!("{}{}", if ns < 0 { '-' } else { '+' }, plain(ns))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use zk_registry::balance::Balancer;
    use zk_registry::balance::strategy::RoundRobin;
    use zk_registry::{ServiceName, StaticResolver};

    use super::*;
    use crate::client::Options;
    use crate::documented;

    proptest! {
        #[test]
        fn the_true_offset_lies_within_the_bound(
            t1 in 1_u64 << 60..1 << 61,
            ahead in -1_000_000_000_000_i64..1_000_000_000_000,
            there in 0_u64..1_000_000_000,
            serving in 0_u64..1_000_000_000,
            back in 0_u64..1_000_000_000,
        ) {
            let theirs = |ours: u64| ours.checked_add_signed(ahead).unwrap();
            let stamps = Stamps { t1, t2: theirs(t1 + there), t3: theirs(t1 + there + serving) };
            let measured = Offset::of(stamps, t1 + there + serving + back).unwrap();
            prop_assert_eq!(measured.round_trip, (there + back) as i64);
            prop_assert!((measured.offset - ahead).abs() <= measured.bound());
        }

        #[test]
        fn no_stamps_overflow(t1: u64, t2: u64, t3: u64, t4: u64) {
            if let Ok(measured) = Offset::of(Stamps { t1, t2, t3 }, t4) {
                prop_assert!(t2 <= t3 && measured.round_trip >= 0);
                let ahead = (i128::from(t2) + i128::from(t3) - i128::from(t1) - i128::from(t4)) / 2;
                prop_assert!((i128::from(measured.offset) - ahead).abs() <= 1);
            }
        }
    }

    #[test]
    fn stamps_that_cannot_be_true_are_refused() {
        let said =
            |t2, t3| Offset::of(Stamps { t1: 1_000, t2, t3 }, 2_000).map_err(|fault| fault.to_string());
        assert_eq!(said(5_000, 5_400).unwrap().round_trip, 600);
        assert!(said(5_000, 4_999).unwrap_err().contains("before it received"));
        assert!(said(5_000, 6_001).unwrap_err().contains("longer than the exchange"));
        assert!(said(0, u64::MAX).unwrap_err().contains("longer than the exchange"));
        assert!(said(u64::MAX, u64::MAX).unwrap_err().contains("292 years"));
    }

    fn fleet(offsets: &[i64]) -> Fleet {
        let measured = offsets
            .iter()
            .enumerate()
            .map(|(n, &offset)| (format!("i{n}"), Offset { offset, round_trip: 2 }));
        Fleet { measured: measured.collect(), failed: 0 }
    }

    pub(crate) fn lines() -> Vec<String> {
        let snapshot =
            zk_registry::Snapshot::fixed(&"time".parse().unwrap(), [Instance::new("127.0.0.1", 8897)]);
        let member = snapshot.instances().next().unwrap();
        let best = Offset { offset: -1250, round_trip: 84_000 };
        vec![
            documented::line(&Line::of(member, &Ok(Measured { best, samples: SAMPLES }))),
            documented::line(&Line::of(member, &Err(Fault::Closed))),
            documented::line(&FleetLine { offsets: fleet(&[5, -3, 9_000_000]).json() }),
        ]
    }

    /// Answers `sync` and, where `garbage` says so of the number of the connection, something else.
    async fn server(garbage: impl Fn(usize) -> bool + Send + 'static) -> Instance {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for n in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let mut request = String::new();
                stream.read_line(&mut request).await.unwrap();
                let t1 = request.trim_end().strip_prefix("sync ").unwrap();
                let reply = if garbage(n) { "what?\n".to_owned() } else { format!("sync {t1} {t1} {t1}\n") };
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        Instance::new("127.0.0.1", port)
    }

    #[tokio::test]
    async fn a_bad_sample_costs_no_good_one() {
        let once = server(|connection| connection == 3).await;
        let never = server(|_| true).await;
        let service: ServiceName = "time".parse().unwrap();
        let resolver = StaticResolver::new().with(service.clone(), [once.clone()]);
        let client =
            TimeClient::new(&resolver, &service, Balancer::new(RoundRobin::default()), Options::default());
        let samples = NonZeroUsize::new(SAMPLES).unwrap();
        assert_eq!(measure(&client, &once, samples).await.unwrap().samples, SAMPLES - 1);
        assert!(matches!(measure(&client, &never, samples).await, Err(Fault::Garbage(_))));
    }

    #[test]
    fn the_one_that_is_off_is_named() {
        let json = fleet(&[5, -3, 9_000_000]).json();
        assert_eq!(json.furthest.as_deref(), Some("i2"));
        assert_eq!(
            (json.median_ns, json.spread_ns, json.furthest_ns),
            (Some(5), Some(9_000_003), Some(8_999_995))
        );
        assert_eq!(fleet(&[]).json().furthest, None);
    }
}

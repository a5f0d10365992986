//! Scripts by chance: a few sessions, a dozen paths, every operation, valid and not.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::packet::Packet;
use super::script::{Ask, Connect, Entry, Step, Text, Wanted};

/// The steps of a script besides those that open its sessions and end it.
pub(super) const STEPS: usize = 100;
/// The connections of a script.
pub(super) const SLOTS: usize = 4;

/// The script of a seed. It keeps to a subtree of its own as far as it writes.
pub(super) fn steps(seed: u64) -> Vec<Step> {
    let mut generator =
        Generator { rng: StdRng::seed_from_u64(seed), root: format!("/d{seed}"), open: [false; SLOTS] };
    let slots = generator.rng.random_range(2..=SLOTS);
    let mut steps: Vec<Step> = (0..slots).map(|slot| generator.opens(slot)).collect();
    steps.push(ask(0, generator.plain("")));
    for path in ["/a", "/a/x", "/b"] {
        if generator.rng.random_bool(0.7) {
            steps.push(ask(0, generator.plain(path)));
        }
    }
    while steps.len() < STEPS + 5 {
        steps.push(generator.step(slots));
    }
    if seed.is_multiple_of(WAITS) {
        // Both servers expire the sessions whose connections were dropped.
        steps.push(Step::Drop { slot: 1 });
        steps.push(Step::Wait { milliseconds: 4_500 });
        steps.extend((0..10).map(|_| generator.step(slots)));
    }
    steps
}

/// One seed in so many lets sessions expire.
const WAITS: u64 = 400;

fn ask(slot: usize, ask: Ask) -> Step {
    Step::Ask { slot, asks: vec![ask] }
}

struct Generator {
    rng: StdRng,
    root: String,
    /// The slots that should have a connection.
    open: [bool; SLOTS],
}

impl Generator {
    fn step(&mut self, slots: usize) -> Step {
        let slot = self.rng.random_range(0..slots);
        if !self.open[slot] && self.rng.random_bool(0.8) {
            return self.connects(slot, slots);
        }
        match self.rng.random_range(0..1000) {
            0..12 => {
                self.open[slot] = false;
                Step::Drop { slot }
            }
            12..24 => self.connects(slot, slots),
            24..74 => self.bytes(slot),
            74..84 => {
                self.open[slot] = false;
                let close = self.closing();
                ask(slot, close)
            }
            84..134 => {
                let count = self.rng.random_range(2..6);
                let mut asks: Vec<Ask> = (0..count).map(|_| self.ask()).collect();
                // A server answers an authentication before what it has in hand, and judges what follows a new list in haste
                // by the old one.
                // What follows a transaction on which it trips may see what that had prepared.
                asks.retain(|ask| !matches!(ask, Ask::Auth { .. } | Ask::SetAcl { .. }) && !trips(ask));
                Step::Ask { slot, asks }
            }
            _ => {
                let one = self.ask();
                ask(slot, one)
            }
        }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.rng.random_ratio(1, many)
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.rng.random_range(0..all.len())].clone()
    }

    // Connections.

    fn opens(&mut self, slot: usize) -> Step {
        self.open[slot] = true;
        let read_only = self.pick(&[Some(false), Some(false), Some(true), None]);
        Step::Connect(Connect { slot, session: Wanted::New, timeout: 20_000, read_only, ahead: false })
    }

    fn connects(&mut self, slot: usize, slots: usize) -> Step {
        let other = self.rng.random_range(0..slots);
        let session = match self.rng.random_range(0..20) {
            0..7 => Wanted::Of(slot),
            7..10 => Wanted::Of(other),
            10 => Wanted::Stolen(other),
            11 => Wanted::Unknown,
            _ => Wanted::New,
        };
        self.open[slot] = !matches!(session, Wanted::Stolen(_) | Wanted::Unknown);
        let timeout = match self.one_in(20) {
            true => self.pick(&[0, 1, -1, 1_999, 2_000, 2_001, 20_001, i32::MAX, i32::MIN]),
            false => self.pick(&[20_000, 20_000, 19_999, 10_000]),
        };
        let read_only = self.pick(&[Some(false), Some(false), Some(true), None]);
        Step::Connect(Connect { slot, session, timeout, read_only, ahead: self.one_in(20) })
    }

    fn closing(&mut self) -> Ask {
        match self.rng.random_range(0..8) {
            0..3 => Ask::Close,
            3..5 => Ask::Check { path: self.path(), version: -1 },
            5 => Ask::Auth {
                scheme: self.pick(&[Some("world".to_owned()), Some("none".to_owned()), None]),
                auth: None,
            },
            _ => Ask::Other(self.pick(&[0, 10, -1, 23, 99, 108, 110, i32::MAX, i32::MIN])),
        }
    }

    /// A request that is cut off, or of which a byte is another.
    fn bytes(&mut self, slot: usize) -> Step {
        let good = self.ask();
        let mut packet = Packet::default();
        packet.body(&good, 0);
        let framed = packet.framed();
        let mut body = framed[4..].to_vec();
        let mortal = matches!(good, Ask::Create { operation: 21, .. });
        if !body.is_empty() && !mortal {
            // The numbers of transactions are not the same on both servers.
            let first = if let Ask::SetWatches { .. } = good { 8 } else { 0 };
            let at = self.rng.random_range(first..body.len());
            match self.rng.random_range(0..3) {
                0 => body.truncate(at),
                1 => body.push(7),
                _ => body[at] ^= 1 << self.rng.random_range(0..8),
            }
        }
        Step::Bytes { slot, operation: good.operation(), body }
    }

    // Requests.

    fn plain(&self, path: &str) -> Ask {
        let path = Some(format!("{}{path}", self.root));
        let acl = Some(vec![entry(31, "world", "anyone")]);
        Ask::Create { operation: 1, path, data: Some(String::new()), acl, flags: 0, ttl: 0 }
    }

    fn ask(&mut self) -> Ask {
        match self.rng.random_range(0..100) {
            0..20 => self.create(),
            20..30 => Ask::Delete { path: self.path(), version: self.version() },
            30..35 => Ask::Exists { path: self.path(), watch: self.rng.random() },
            35..41 => Ask::GetData { path: self.path(), watch: self.rng.random() },
            41..48 => Ask::SetData { path: self.path(), data: self.data(), version: self.version() },
            48..50 => Ask::GetAcl(self.path()),
            50..54 => self.set_acl(),
            54..57 => Ask::GetChildren { path: self.path(), watch: self.rng.random() },
            57..61 => Ask::GetChildren2 { path: self.path(), watch: self.rng.random() },
            61..62 => Ask::Sync(self.path()),
            62..72 => {
                let count = self.rng.random_range(0..6);
                Ask::Multi((0..count).map(|_| self.write()).collect())
            }
            72..75 => {
                let count = self.rng.random_range(0..5);
                Ask::MultiRead((0..count).map(|_| self.read()).collect())
            }
            75..76 => Ask::Ping,
            76..78 => Ask::DeleteContainer(self.path()),
            78..80 => Ask::CheckWatches { path: self.path(), kind: self.kind() },
            80..83 => Ask::RemoveWatches { path: self.path(), kind: self.kind() },
            83..85 => self.auth(),
            85..88 => self.set_watches(),
            88..90 => Ask::Ephemerals(self.path()),
            90..91 => Ask::AllChildrenNumber(self.path()),
            91..97 => Ask::AddWatch { path: self.path(), mode: self.pick(&[0, 0, 1, 1, 1, 2, -1]) },
            97..98 => {
                Ask::Reconfig { joining: self.pick(&[None, Some("server.2=a:1:2".to_owned())]), version: -1 }
            }
            _ => Ask::WhoAmI,
        }
    }

    fn write(&mut self) -> Ask {
        match self.rng.random_range(0..40) {
            0..16 => self.create(),
            16..24 => Ask::Delete { path: self.path(), version: self.version() },
            24..32 => Ask::SetData { path: self.path(), data: self.data(), version: self.version() },
            32..39 => Ask::Check { path: self.path(), version: self.version() },
            _ => self.ask(),
        }
    }

    fn read(&mut self) -> Ask {
        match self.rng.random_range(0..20) {
            0..10 => Ask::GetData { path: self.path(), watch: self.rng.random() },
            10..19 => Ask::GetChildren { path: self.path(), watch: self.rng.random() },
            _ => self.ask(),
        }
    }

    fn create(&mut self) -> Ask {
        let operation = self.pick(&[1, 1, 1, 15, 15, 19, 21]);
        let flags = match operation {
            _ if self.one_in(30) => self.rng.random_range(-2..10),
            19 => 4,
            21 => self.pick(&[5, 5, 6, 0, 4]),
            _ => self.pick(&[0, 0, 0, 1, 1, 2, 3, 4]),
        };
        // A negative one with a mode that has none ends the process of Apache ZooKeeper.
        let least = if operation == 21 && !matches!(flags, 5 | 6) { 0 } else { -1 };
        let ttl = self.pick(&[100_000_000, 100_000_000, 100_000_000, 0, least, 1 << 40, i64::MAX]);
        Ask::Create { operation, path: self.path(), data: self.data(), acl: self.acl(), flags, ttl }
    }

    fn set_acl(&mut self) -> Ask {
        let path = self.path();
        // What the server owns itself is for all scripts.
        let own = path.as_deref().is_some_and(|path| path.starts_with(&self.root) && path != self.root);
        let version = if own { self.version() } else { 77 };
        Ask::SetAcl { path, acl: self.acl(), version }
    }

    fn set_watches(&mut self) -> Ask {
        let lists = self.pick(&[3, 5]);
        let paths = (0..lists)
            .map(|_| {
                let count = self.rng.random_range(0..4);
                (0..count).map(|_| self.path()).collect()
            })
            .collect();
        Ask::SetWatches { behind: self.rng.random_range(-1..30), paths }
    }

    fn auth(&mut self) -> Ask {
        let digest = || Some("digest".to_owned());
        let (scheme, auth) = match self.rng.random_range(0..24) {
            0..10 => (digest(), Some("u1:p1".to_owned())),
            10..18 => (digest(), Some("u2:p2".to_owned())),
            18 => (
                digest(),
                self.pick(&[
                    Some(String::new()),
                    Some("nobody".to_owned()),
                    Some("a:b:c".to_owned()),
                    Some(":".to_owned()),
                ]),
            ),
            _ => (Some("ip".to_owned()), self.pick(&[None, Some("10.0.0.1".to_owned())])),
        };
        Ask::Auth { scheme, auth }
    }

    fn acl(&mut self) -> Option<Vec<Entry>> {
        Some(match self.rng.random_range(0..30) {
            0..18 => vec![entry(31, "world", "anyone")],
            18 => vec![entry(1, "world", "anyone")],
            19 => vec![entry(31, "auth", "")],
            20 => vec![entry(31, "digest", U1), entry(1, "world", "anyone")],
            21 => {
                let perms = self.rng.random_range(0..32);
                vec![entry(perms, "world", "anyone"), entry(31, "digest", U2)]
            }
            22 => vec![entry(31, "ip", "127.0.0.1")],
            23 => vec![entry(31, "digest", U1), entry(31, "digest", U1)],
            24 => {
                let network = self.pick(&[
                    "127.0.0.0/8",
                    "10.0.0.0/8",
                    "127.0.0.1/33",
                    "::1",
                    "1.2.3",
                    "127.0.0.1/0",
                    "a",
                ]);
                vec![entry(31, "ip", network)]
            }
            25 => vec![],
            26 => return None,
            27 => {
                let scheme = self.pick(&["", "none", "sasl", "x509", "super", "world"]);
                vec![entry(31, scheme, "x")]
            }
            28 => {
                let id = self.pick(&["u1", ":", "u1:", ":x", "a:b:c", "a:b:"]);
                vec![entry(31, "digest", id)]
            }
            _ => {
                let perms = self.pick(&[0, -1, 32, 63, 4, 8]);
                let auth = self.pick(&[
                    entry(31, "auth", "u1:p1"),
                    (31, None, None),
                    (31, Some("world".to_owned()), None),
                ]);
                vec![entry(perms, "world", "anyone"), auth]
            }
        })
    }

    fn version(&mut self) -> i32 {
        match self.rng.random_range(0..10) {
            0..6 => -1,
            6..8 => 0,
            _ => self.pick(&[1, 2, 5, -2, 77]),
        }
    }

    fn data(&mut self) -> Option<String> {
        self.pick(&[Some("x".to_owned()), Some("data".to_owned()), Some(String::new()), None])
    }

    fn kind(&mut self) -> i32 {
        self.pick(&[1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 0, 6])
    }

    fn path(&mut self) -> Text {
        let name = match self.rng.random_range(0..100) {
            0..84 => self.pick(&[
                "/a", "/a", "/b", "/c", "/a/x", "/a/x", "/a/y", "/b/x", "/a/x/p", "/a/s-", "/c/q", "/a/",
            ]),
            84..90 => "",
            90..95 => {
                return Some(
                    self.pick(&["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/zookeeper/x"])
                        .to_owned(),
                );
            }
            95..97 => self.pick(&[
                "//a",
                "/a//b",
                "/.",
                "/..",
                "/a/.",
                "/\u{1}",
                "/\0",
                "/\u{7f}",
                "/\u{e000}",
                "/ü",
                "/\u{1f600}",
                "/\u{fffd}",
                "/a\u{0}b",
            ]),
            97..99 => "/none/x",
            _ => {
                return self.pick(&[None, Some(String::new()), Some("a".to_owned()), Some("a/b".to_owned())]);
            }
        };
        Some(format!("{}{name}", self.root))
    }
}

/// Whether a server trips on a list in this transaction.
fn trips(ask: &Ask) -> bool {
    let null = |(_, scheme, id): &Entry| scheme.is_some() && id.is_none();
    match ask {
        Ask::Multi(asks) => asks.iter().any(|ask| match ask {
            Ask::Create { acl: Some(acl), .. } => acl.iter().any(null),
            _ => false,
        }),
        _ => false,
    }
}

fn entry(perms: i32, scheme: &str, id: &str) -> Entry {
    (perms, Some(scheme.to_owned()), Some(id.to_owned()))
}

/// `u1:p1` and `u2:p2` as lists have them.
const U1: &str = "u1:fpT/y03U+EjItKZOSLGvjnJlyng=";
const U2: &str = "u2:o9NxcCGDPOlcV7JVhmKHOf5ctVE=";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_that_of_its_seed_and_can_be_read_back() {
        let script = steps(7);
        assert_eq!(script, steps(7));
        assert_ne!(script, steps(8));
        assert!(script.len() >= STEPS);
        for step in &script {
            assert_eq!(&serde_json::from_str::<Step>(&step.to_string()).unwrap(), step);
        }
    }
}

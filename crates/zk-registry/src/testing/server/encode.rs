//! Replies and events into bytes.

use crate::store::memory::engine::record::{Answer, Code, Event, EventKind, Id, Reply, Stat};

/// A frame that is being written.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![0; 4])
    }

    /// The frame, with its length in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = length(self.0.len() - 4).to_be_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }

    pub(super) fn int(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.0.push(value.into());
        self
    }

    pub(super) fn buffer(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.int(-1),
            Some(bytes) => {
                self.int(length(bytes.len()));
                self.0.extend(bytes);
                self
            }
        }
    }

    fn string(&mut self, text: &str) -> &mut Self {
        if text.chars().all(|character| character <= '\u{ffff}') {
            return self.buffer(Some(text.as_bytes()));
        }
        // A server writes each unit of UTF-16 by itself: a character above U+FFFF is two of them, of three bytes each.
        let mut bytes = Vec::with_capacity(text.len() + text.len() / 2);
        for unit in text.encode_utf16() {
            match char::from_u32(unit.into()) {
                Some(character) => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
                None => {
                    let [high, low] = unit.to_be_bytes();
                    bytes.extend([0xe0 | high >> 4, 0x80 | (high & 0xf) << 2 | low >> 6, 0x80 | low & 0x3f]);
                }
            }
        }
        self.buffer(Some(&bytes))
    }

    fn strings(&mut self, all: &[String]) {
        self.int(length(all.len()));
        for one in all {
            self.string(one);
        }
    }

    fn id(&mut self, id: &Id) {
        self.string(&id.scheme).string(&id.id);
    }

    fn stat(&mut self, stat: &Stat) {
        self.long(stat.czxid).long(stat.mzxid).long(stat.ctime).long(stat.mtime);
        self.int(stat.version).int(stat.cversion).int(stat.aversion).long(stat.owner);
        self.int(stat.data_length).int(stat.children).long(stat.pzxid);
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Checked | Answer::Deleted | Answer::Nothing => {}
            Answer::Acl(acl, stat) => {
                self.int(length(acl.len()));
                for entry in acl {
                    self.int(entry.perms).id(&entry.id);
                }
                self.stat(stat);
            }
            Answer::Children(names) | Answer::Paths(names) => self.strings(names),
            Answer::ChildrenWithStat(names, stat) => {
                self.strings(names);
                self.stat(stat);
            }
            Answer::Created(path) => drop(self.string(path)),
            Answer::Path(path) => match path {
                Some(path) => drop(self.string(path)),
                None => drop(self.buffer(None)),
            },
            Answer::CreatedWithStat(path, stat) => self.string(path).stat(stat),
            Answer::Data(data, stat) => self.buffer(data.as_deref()).stat(stat),
            Answer::Identities(ids) => {
                self.int(length(ids.len()));
                ids.iter().for_each(|id| self.id(id));
            }
            Answer::Multi(all) => {
                for one in all {
                    match one {
                        Ok(answer) => {
                            self.int(operation(answer)).boolean(false).int(0);
                            self.answer(answer);
                        }
                        Err(code) => self.refusal(code.number()),
                    }
                }
                self.int(-1).boolean(true).int(-1);
            }
            Answer::Number(number) => drop(self.int(*number)),
            Answer::Refused { index, code, of } => {
                for n in 0..*of {
                    self.refusal(match n.cmp(index) {
                        std::cmp::Ordering::Less => 0,
                        std::cmp::Ordering::Equal => code.number(),
                        std::cmp::Ordering::Greater => Code::RuntimeInconsistency.number(),
                    });
                }
                self.int(-1).boolean(true).int(-1);
            }
            Answer::Stat(stat) => self.stat(stat),
            Answer::Watching => drop(self.int(0)),
        }
    }

    fn refusal(&mut self, code: i32) {
        self.int(-1).boolean(false).int(code).int(code);
    }
}

/// A reply to the request of this number.
pub(super) fn reply(xid: i32, reply: &Reply) -> Vec<u8> {
    let mut writer = Writer::new();
    let code = reply.result.as_ref().err().map_or(0, |code| code.number());
    writer.int(xid).long(reply.zxid).int(code);
    if let Ok(answer) = &reply.result {
        writer.answer(answer);
    }
    writer.finish()
}

/// A notification.
pub(super) fn event(event: &Event) -> Vec<u8> {
    let kind = match event.kind {
        EventKind::Created => 1,
        EventKind::Deleted => 2,
        EventKind::DataChanged => 3,
        EventKind::ChildrenChanged => 4,
    };
    let mut writer = Writer::new();
    writer.int(-1).long(event.zxid).int(0).int(kind).int(3).string(&event.path);
    writer.finish()
}

/// The number by which the result of a multi says what it is of.
fn operation(answer: &Answer) -> i32 {
    match answer {
        Answer::Children(_) => 8,
        Answer::Created(_) => 1,
        Answer::CreatedWithStat(..) => 15,
        Answer::Data(..) => 4,
        Answer::Deleted => 2,
        Answer::Stat(_) => 5,
        _ => 13,
    }
}

fn length(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

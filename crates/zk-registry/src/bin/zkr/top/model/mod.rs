//! What the screen shows and what keys do to it. A value: snapshots, keys and time come in, a drawing and effects go out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zk_registry::{InstanceId, Member, ServiceName, Status, Zxid};

use super::key::Key;
use crate::amend::{Wish, weight};
use crate::live::{Board, News, Now, Shape, Sort};

/// Everything that the screen depends on, but its size and the time.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) board: Board,
    pub(crate) to: String,
    pub(crate) writes: Writes,
    pub(crate) pane: Pane,
    pub(crate) mode: Mode,
    pub(crate) sort: Sort,
    pub(crate) filter: String,
    service: Option<ServiceName>,
    instance: Option<InstanceId>,
    /// The event that is marked in the history, counted from the first that ever was; `None`: the latest, whichever that is.
    event: Option<u64>,
    pub(crate) notice: Option<Notice>,
}

/// Whether instances can be changed from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Writes {
    Armed,
    Refused,
}

/// A part of the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pane {
    History,
    Instances,
    Services,
}

/// What keys mean at the moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Browse,
    /// A change waits for its yes.
    Confirm(Request),
    /// A filter is being written; `before` is the one that comes back with Escape.
    Filter {
        before: String,
    },
    Help,
    /// A weight is being written.
    Weigh {
        of: Request,
        text: String,
    },
}

/// A change of the instance that was marked, as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Request {
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
    /// The write that last changed it, as it was shown.
    pub(crate) shown: Zxid,
    pub(crate) wish: Wish,
}

/// A line about what was done or cannot be done.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) since: Instant,
}

impl Notice {
    pub(crate) fn stands(&self, now: Now) -> bool {
        now.at.duration_since(self.since) < NOTICE
    }
}

/// How long a notice stands.
const NOTICE: Duration = Duration::from_secs(8);

/// What the world has to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    Change(Request),
    Nothing,
    Quit,
}

impl Model {
    pub(crate) fn new(board: Board, to: String, writes: Writes) -> Self {
        let mut model = Self {
            board,
            to,
            writes,
            pane: Pane::Instances,
            mode: Mode::Browse,
            sort: Sort::Id,
            filter: String::new(),
            service: None,
            instance: None,
            event: None,
            notice: None,
        };
        model.hold_on();
        model
    }

    /// Takes up what a watch told.
    pub(crate) fn hear(&mut self, news: News, now: Now) {
        self.board.hear(news, now);
        self.hold_on();
    }

    /// Says something, for a while.
    pub(crate) fn say(&mut self, text: impl Into<String>, now: Now) {
        self.notice = Some(Notice { text: text.into(), since: now.at });
    }

    /// A key was pressed while a pane showed this many rows.
    pub(crate) fn press(&mut self, key: Key, page: usize, now: Now) -> Effect {
        if key == Key::Interrupt {
            return Effect::Quit;
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => return self.browse(key, page, now),
            Mode::Confirm(request) => match key {
                Key::Char('y' | 'Y') => return Effect::Change(request),
                _ => self.say("nothing was changed", now),
            },
            Mode::Filter { before } => self.write_filter(key, before),
            Mode::Help => {}
            Mode::Weigh { of, text } => self.write_weight(key, of, text, now),
        }
        Effect::Nothing
    }

    fn browse(&mut self, key: Key, page: usize, now: Now) -> Effect {
        let page = isize::try_from(page).unwrap_or(isize::MAX).max(1);
        match key {
            Key::Char('q') => return Effect::Quit,
            Key::Char('?' | 'h') => self.mode = Mode::Help,
            Key::Char('/') => {
                self.pane = Pane::Instances;
                self.mode = Mode::Filter { before: self.filter.clone() };
            }
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('d') => self.ask(now, |_| Wish::Status(Status::Draining, None)),
            Key::Char('u') => self.ask(now, |_| Wish::Status(Status::Up, None)),
            Key::Char('w') => {
                self.ask(now, |member| Wish::Weight(member.weight()));
                if let Mode::Confirm(of) = &self.mode {
                    self.mode = Mode::Weigh { of: of.clone(), text: String::new() };
                }
            }
            Key::Tab => self.pane = self.pane.next(),
            Key::BackTab => self.pane = self.pane.next().next(),
            Key::Enter if self.pane == Pane::Services => self.pane = Pane::Instances,
            Key::Escape if !self.filter.is_empty() => self.filter.clear(),
            Key::Escape => self.notice = None,
            Key::Up | Key::Char('k') => self.go(-1),
            Key::Down | Key::Char('j') => self.go(1),
            Key::PageUp => self.go(-page),
            Key::PageDown => self.go(page),
            Key::Home | Key::Char('g') => self.go(isize::MIN),
            Key::End | Key::Char('G') => self.go(isize::MAX),
            Key::Backspace | Key::Char(_) | Key::Enter | Key::Interrupt => {}
        }
        Effect::Nothing
    }

    fn write_filter(&mut self, key: Key, before: String) {
        match key {
            Key::Enter => return,
            Key::Escape => {
                self.filter = before;
                return;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.mode = Mode::Filter { before };
    }

    fn write_weight(&mut self, key: Key, of: Request, mut text: String, now: Now) {
        match key {
            Key::Escape => return self.say("nothing was changed", now),
            Key::Enter => match weight(&text) {
                Ok(weight) => {
                    self.mode = Mode::Confirm(Request { wish: Wish::Weight(weight), ..of });
                    return;
                }
                Err(why) => self.say(why, now),
            },
            Key::Backspace => {
                text.pop();
            }
            Key::Char(c) if c.is_ascii_digit() && text.len() < 5 => text.push(c),
            _ => {}
        }
        self.mode = Mode::Weigh { of, text };
    }

    /// Asks whether the marked instance is to be changed.
    fn ask(&mut self, now: Now, wish: impl FnOnce(&Member) -> Wish) {
        if self.writes == Writes::Refused {
            return self.say("this is read-only: start it with --write to change instances", now);
        }
        let Some((service, member)) = self.service().zip(self.instance()) else {
            return self.say("no instance is marked", now);
        };
        let (service, id, shown) = (service.0.clone(), member.id().clone(), member.modified());
        let wish = wish(member);
        self.mode = Mode::Confirm(Request { service, id, shown, wish });
    }

    /// The service whose instances are shown.
    pub(crate) fn service(&self) -> Option<(&ServiceName, &Shape)> {
        let name = self.service.as_ref()?;
        Some((name, self.board.get(name)?))
    }

    /// The instance that is marked.
    pub(crate) fn instance(&self) -> Option<&Member> {
        let (_, shape) = self.service()?;
        shape.snapshot.get(self.instance.as_ref()?).map(Arc::as_ref)
    }

    /// The instances that the filter lets through, in their order.
    pub(crate) fn rows(&self) -> Vec<&Arc<Member>> {
        self.service().map(|(_, shape)| shape.rows(&self.filter, self.sort)).unwrap_or_default()
    }

    /// The place of the marked instance among `rows`.
    pub(crate) fn marked(&self, rows: &[&Arc<Member>]) -> Option<usize> {
        let id = self.instance.as_ref()?;
        rows.iter().position(|member| member.id() == id)
    }

    /// The place of the marked event, the latest being the first.
    pub(crate) fn marked_event(&self) -> usize {
        let last = self.board.history().len().saturating_sub(1);
        let Some(event) = self.event else { return 0 };
        usize::try_from(self.board.events() - 1 - event).unwrap_or(usize::MAX).min(last)
    }

    /// Keeps a mark where it is, or puts it somewhere when what it was on went.
    fn hold_on(&mut self) {
        if self.service().is_none() {
            self.service = self.board.services().next().map(|(name, _)| name.clone());
            self.instance = None;
        }
    }

    /// Moves the mark of the pane.
    fn go(&mut self, by: isize) {
        match self.pane {
            Pane::History => {
                let last = self.board.history().len().saturating_sub(1);
                let at = self.marked_event().saturating_add_signed(by).min(last);
                self.event = (at > 0).then(|| self.board.events() - 1 - at as u64);
            }
            Pane::Instances => {
                let rows = self.rows();
                let last = rows.len().saturating_sub(1);
                let at = match self.marked(&rows) {
                    Some(at) => at.saturating_add_signed(by).min(last),
                    None if by < 0 && by != isize::MIN => last,
                    None => {
                        if by == isize::MAX {
                            last
                        } else {
                            0
                        }
                    }
                };
                self.instance = rows.get(at).map(|member| member.id().clone());
            }
            Pane::Services => {
                let names: Vec<_> = self.board.services().map(|(name, _)| name).collect();
                let at = names.iter().position(|name| Some(*name) == self.service.as_ref()).unwrap_or(0);
                let at = at.saturating_add_signed(by).min(names.len().saturating_sub(1));
                let name = names.get(at).map(|name| (*name).clone());
                if name != self.service {
                    (self.service, self.instance) = (name, None);
                }
            }
        }
    }
}

impl Pane {
    fn next(self) -> Self {
        match self {
            Self::History => Self::Services,
            Self::Instances => Self::History,
            Self::Services => Self::Instances,
        }
    }
}

#[cfg(test)]
mod tests;

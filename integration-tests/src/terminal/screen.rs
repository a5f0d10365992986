//! Pure: the cells of a screen, as the bytes that are written to it leave them. It knows what a full-screen program needs: text, where
//! the cursor goes, and what is erased; every character takes one cell. Other codes change no text and are passed over.

/// The cells, and where the next character goes.
#[derive(Debug)]
pub(super) struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
    state: State,
    /// The beginning of a character whose other bytes have not come yet.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// A control sequence, and its parameters so far.
    Control(String),
    Escape,
    Text,
}

impl Screen {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let rows = vec![vec![' '; usize::from(width)]; usize::from(height)];
        Self { rows, row: 0, column: 0, state: State::Text, rest: Vec::new() }
    }

    /// Whether a row contains a text.
    pub(super) fn shows(&self, text: &str) -> bool {
        self.rows.iter().any(|row| row.iter().collect::<String>().contains(text))
    }

    /// Draws what was written.
    pub(super) fn take_up(&mut self, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&all) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => all.len(),
        };
        String::from_utf8_lossy(&all[..whole]).chars().for_each(|c| self.take_up_one(c));
        self.rest = all.split_off(whole);
    }

    fn take_up_one(&mut self, c: char) {
        match (std::mem::replace(&mut self.state, State::Text), c) {
            (State::Text, '\u{1b}') => self.state = State::Escape,
            (State::Text, '\r') => self.column = 0,
            (State::Text, '\n') => self.row += 1,
            (State::Text, c) if c.is_control() => {}
            (State::Text, c) => {
                if let Some(cell) = self.rows.get_mut(self.row).and_then(|row| row.get_mut(self.column)) {
                    *cell = c;
                }
                self.column += 1;
            }
            (State::Escape, '[') => self.state = State::Control(String::new()),
            (State::Escape, _) => {}
            (State::Control(parameters), '\u{40}'..='\u{7e}') => self.control(c, &parameters),
            (State::Control(mut parameters), c) => {
                parameters.push(c);
                self.state = State::Control(parameters);
            }
        }
    }

    fn control(&mut self, what: char, parameters: &str) {
        let mut numbers = parameters.split(';').map(|number| number.parse::<usize>().ok());
        let mut place = || numbers.next().flatten().unwrap_or(1).saturating_sub(1);
        match what {
            'H' | 'f' => (self.row, self.column) = (place(), place()),
            'J' => self.rows.iter_mut().for_each(|row| row.fill(' ')),
            'K' => {
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.iter_mut().skip(self.column).for_each(|cell| *cell = ' ');
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_where_the_cursor_was_and_parts_of_it_are_drawn_over() {
        let mut screen = Screen::new(10, 2);
        screen.take_up(b"\x1b[1;31mabcdef\x1b[2;1Hx\x1b[1;3HC\x1b[?25l");
        assert!(screen.shows("abCdef") && screen.shows("x "));
        screen.take_up("\x1b[2;2H▁▂".as_bytes().split_at(8).0);
        assert!(!screen.shows("▁"));
        screen.take_up(&"\x1b[2;2H▁▂".as_bytes()[8..]);
        assert!(screen.shows("x▁▂"));
        screen.take_up(b"\x1b[2;2H\x1b[K");
        assert!(screen.shows("x ") && !screen.shows("▁"));
        screen.take_up(b"\x1b[2J\x1b[99;99Hbeyond");
        assert!(!screen.shows("C") && !screen.shows("beyond"));
    }
}

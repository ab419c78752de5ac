//! Reading the journal from its beginning or its end, and on while it grows.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;

use super::{Event, Journal};
use crate::base::fs::open_if_exists;
use crate::base::lines::Lines;
use crate::base::{Context as _, Result};

/// The events of a journal, oldest first.
#[derive(Debug)]
pub struct Reader {
    journal: Journal,
    file: Option<File>,
    lines: Lines,
}

impl Reader {
    /// Begins with the oldest event that is kept.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn from_start(journal: &Journal) -> Result<Self> {
        let file = match open_if_exists(&journal.older())? {
            Some(older) => Some(older),
            None => open_if_exists(&journal.path())?,
        };
        Ok(Self::new(journal, file))
    }

    /// Begins with the next event that happens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn from_end(journal: &Journal) -> Result<Self> {
        let mut file = open_if_exists(&journal.path())?;
        if let Some(file) = &mut file {
            file.seek(SeekFrom::End(0))
                .what(|| "cannot read the event journal")?;
        }
        Ok(Self::new(journal, file))
    }

    fn new(journal: &Journal, file: Option<File>) -> Self {
        Self {
            journal: journal.clone(),
            file,
            lines: Lines::default(),
        }
    }

    /// The next event; `None` when there is none now.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next_event(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(line) = self.lines.next_line() {
                if let Ok(event) = serde_json::from_slice(line) {
                    return Ok(Some(event));
                }
            }
            if !self.fill()? && !self.advance()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        self.lines
            .fill(file)
            .what(|| "cannot read the event journal")
    }

    /// At the end of a file: goes to the present one, if this is another.
    fn advance(&mut self) -> Result<bool> {
        let Some(present) = open_if_exists(&self.journal.path())? else {
            return Ok(false);
        };
        if let Some(file) = &self.file {
            let inode = |f: &File| f.metadata().map(|m| (m.dev(), m.ino())).ok();
            if inode(file) == inode(&present) {
                return Ok(false);
            }
            // Written between the last look and the rotation.
            if self.fill()? {
                return Ok(true);
            }
        }
        self.lines.tear();
        self.file = Some(present);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Type;

    fn event(number: usize) -> Event {
        Event::new(Type::Container, "start", &format!("{number:064}"), "web")
    }

    fn ids(reader: &mut Reader) -> Vec<usize> {
        let mut ids = Vec::new();
        while let Some(event) = reader.next_event().unwrap() {
            ids.push(event.id.parse().unwrap());
        }
        ids
    }

    #[test]
    fn events_come_back_in_order_over_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::limited(&dir.path().join("events"), 4000);
        let mut from_end = Reader::from_end(&journal).unwrap();
        assert!(
            from_end.next_event().unwrap().is_none(),
            "nothing was written yet"
        );
        for number in 0..40 {
            journal.write(&event(number));
        }
        assert!(journal.older().exists(), "it was rotated");
        let kept = ids(&mut Reader::from_start(&journal).unwrap());
        let oldest = *kept.first().unwrap();
        assert_eq!(kept, (oldest..40).collect::<Vec<_>>());
        let mut late = Reader::from_end(&journal).unwrap();
        journal.write(&event(40));
        assert_eq!(ids(&mut late), [40]);
    }

    #[test]
    fn a_follower_misses_nothing_when_it_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::limited(dir.path(), 1000);
        let mut reader = Reader::from_start(&journal).unwrap();
        let mut seen = Vec::new();
        for number in 0..200 {
            journal.write(&event(number));
            if number % 3 == 0 {
                seen.extend(ids(&mut reader));
            }
        }
        seen.extend(ids(&mut reader));
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn many_writers_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::limited(dir.path(), 60_000);
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let journal = &journal;
                scope.spawn(move || {
                    for number in 0..50 {
                        journal.write(&event(writer * 50 + number));
                    }
                });
            }
        });
        let mut seen = ids(&mut Reader::from_start(&journal).unwrap());
        seen.sort_unstable();
        assert_eq!(seen, (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::limited(dir.path(), 1 << 20);
        journal.write(&event(1));
        let mut bytes = std::fs::read(journal.path()).unwrap();
        bytes.extend_from_slice(b"{\"time\":12,\"ty");
        std::fs::write(journal.path(), bytes).unwrap();
        journal.write(&event(2));
        assert_eq!(ids(&mut Reader::from_start(&journal).unwrap()), [1, 2]);
    }

    #[test]
    fn writing_is_cheap_and_cannot_fail() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::limited(dir.path(), 8 << 20);
        journal.write(&event(0));
        let begin = std::time::Instant::now();
        for number in 0..500 {
            journal.write(&event(number));
        }
        let each = begin.elapsed() / 500;
        assert!(each.as_micros() < 1000, "{each:?} for one event");
        // A place that cannot be written loses the event, quietly.
        std::fs::write(dir.path().join("file"), "").unwrap();
        Journal::limited(&dir.path().join("file/below"), 1).write(&event(0));
    }
}

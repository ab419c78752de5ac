//! Input to the container and output from it.

use std::time::Instant;

use super::super::streams::{Found, Progress};
use super::{HUNG_UP, INPUT, Monitor, OUT, Phase, TURNS};
use crate::base::time::Timestamp;
use crate::sys::event::Interest;

impl Monitor<'_> {
    /// Takes input of a client.
    pub(in crate::monitor) fn input(&mut self, client: u64, bytes: &[u8]) {
        let mut taken = false;
        if let Phase::Running(current) = &mut self.phase
            && let Some(input) = &mut current.ends.input
        {
            input.push(client, bytes);
            taken = true;
        }
        if taken {
            self.feed();
        } else {
            // Nobody reads: as /dev/null would.
            self.clients.credit(client, bytes.len(), &self.poller);
        }
    }

    /// A client sends no more: the container's input ends with the last one's.
    pub(in crate::monitor) fn input_ended(&mut self) {
        if self.clients.have_input() {
            return;
        }
        if let Phase::Running(current) = &mut self.phase
            && let Some(input) = &mut current.ends.input
        {
            input.end();
        }
        self.feed();
    }

    pub(super) fn feed(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let Some(input) = &mut current.ends.input else {
            return;
        };
        let (clients, poller) = (&mut self.clients, &self.poller);
        let progress = input.flush(|client, count| clients.credit(client, count, poller));
        let wanted = progress == Progress::Waiting;
        if wanted != current.writing {
            let _known = if wanted {
                poller.add(&*input, INPUT, Interest::WRITE)
            } else {
                poller.remove(&*input)
            };
            current.writing = wanted;
        }
        if progress == Progress::Closed {
            current.ends.input = None;
        }
    }

    /// Moves output to the log and the clients.
    pub(super) fn relay(&mut self, error: bool, turns: usize) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let slot = if error {
            &mut current.ends.err
        } else {
            &mut current.ends.out
        };
        let Some(source) = slot else {
            return;
        };
        for _ in 0..turns {
            match source.read(&mut self.buffer) {
                Found::Bytes(n) => {
                    let bytes = &self.buffer[..n];
                    // A full disk costs log lines, never the container.
                    let _lost = self.plan.log.write(source.stream, Timestamp::now(), bytes);
                    self.clients.output(source.stream, bytes, &self.poller);
                    if self.clients.are_full() && turns == TURNS {
                        break;
                    }
                }
                Found::Nothing => break,
                Found::HungUp => {
                    current.look_again = Some(Instant::now() + HUNG_UP);
                    break;
                }
                Found::End => {
                    if std::mem::take(&mut current.reading[usize::from(error)]) {
                        let _known = self.poller.remove(&*source);
                    }
                    *slot = None;
                    break;
                }
            }
        }
    }

    /// Watches the streams, unless a client cannot keep up: then the container waits.
    pub(super) fn update_interest(&mut self) {
        let full = self.clients.are_full();
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let wanted = !full && current.look_again.is_none();
        for (index, source) in [&current.ends.out, &current.ends.err]
            .into_iter()
            .enumerate()
        {
            let reading = &mut current.reading[index];
            if let Some(source) = source
                && *reading != wanted
            {
                let _known = if wanted {
                    self.poller.add(source, OUT + index as u64, Interest::READ)
                } else {
                    self.poller.remove(source)
                };
                *reading = wanted;
            }
        }
    }
}

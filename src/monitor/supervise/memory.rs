//! A container whose memory runs out.

use super::{Monitor, Phase};

impl Monitor<'_> {
    /// A process of the container's may have been killed for want of memory: told while the
    /// container lives, which it may survive.
    pub(super) fn memory_changed(&mut self) {
        let Phase::Running(current) = &mut self.phase else {
            return;
        };
        let Some(memory) = &mut current.running.memory else {
            return;
        };
        let Some(kills) = (memory.kills)() else {
            let _known = self.poller.remove(&memory.changed);
            current.running.memory = None;
            return;
        };
        if kills <= std::mem::replace(&mut current.kills, kills) {
            return;
        }
        self.event("oom");
        if !std::mem::replace(&mut self.status.out_of_memory, true) {
            let _lost = self.write_status();
        }
    }
}

//! The same small work on many items, on a few threads that end before it returns.

use std::thread;

use crate::sys::memory;

/// Fewer items than this are not worth a thread.
const WORTH: usize = 128;

/// More threads than this only wait for the disk together.
const MOST: usize = 4;

/// What the work on one item keeps of a thread's heap, about, bytes.
const HEAP: usize = 3 << 10;

/// Applies `f` to every item; the results are in the order of the items. Many items are shared out
/// among threads, all of which have ended when this returns.
pub fn map<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = match items.len() {
        0..WORTH => 1,
        _ => thread::available_parallelism().map_or(1, |n| n.get().min(MOST)),
    };
    if threads < 2 {
        return items.into_iter().map(f).collect();
    }
    let share = items.len().div_ceil(threads);
    let mut rest = items;
    let mut shares = Vec::with_capacity(threads);
    while rest.len() > share {
        let tail = rest.split_off(share);
        shares.push(std::mem::replace(&mut rest, tail));
    }
    shares.push(rest);
    let f = &f;
    thread::scope(|scope| {
        let mut shares = shares.into_iter();
        let own = shares.next();
        let workers: Vec<_> = shares
            .map(|share| {
                scope.spawn(move || {
                    // A thread's heap otherwise grows by a page at a time, with a system call each.
                    memory::warm(share.len() * HEAP);
                    share.into_iter().map(f).collect::<Vec<R>>()
                })
            })
            .collect();
        let mut results: Vec<R> = own.into_iter().flatten().map(f).collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => results.extend(part),
                // The work itself panicked: go on as if it had done so here.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order() {
        for n in [0, 1, WORTH - 1, WORTH, 1000, 1001] {
            let items: Vec<usize> = (0..n).collect();
            assert_eq!(
                map(items.clone(), |i| i * 2),
                items.iter().map(|i| i * 2).collect::<Vec<_>>()
            );
        }
    }
}

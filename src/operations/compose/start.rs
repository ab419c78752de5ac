//! `start`: containers that exist, each after those that it needs.

use super::Hands;
use super::conditions::Gates;
use super::observe::Member;
use super::replace::{hooks, run_hooks};
use super::tasks::{self, Task};
use crate::base::Result;
use crate::compose::convert;
use crate::compose::project::Project;
use crate::operations::container::run;
use crate::operations::session::Session;
use crate::runtime::userns::{self, Want};

/// Starts containers that exist, each after those that it needs.
///
/// # Errors
/// As `start`.
pub fn start_members(
    session: &Session,
    project: Option<&Project>,
    members: Vec<Member>,
    most: usize,
    hands: &mut dyn Hands,
) -> Result<()> {
    userns::enter(&session.dirs, Want::Default)?;
    let waiting: Vec<&Member> = members.iter().filter(|m| !m.present.running).collect();
    let names: Vec<String> = waiting
        .iter()
        .map(|m| m.label(convert::PROJECT).to_owned())
        .collect();
    let mut list: Vec<Task<'_>> = Vec::new();
    let mut gates = Gates::default();
    for member in &waiting {
        // Before the gates: a container's place is its own.
        list.push(Task {
            noun: "Container",
            name: member.present.name.clone(),
            done: "Started",
            after: Vec::new(),
            waits: false,
            work: Box::new(|_| Ok(())),
        });
    }
    for (i, member) in waiting.iter().enumerate() {
        let needed = member.dependencies();
        let needs = |other: &Member| needed.iter().any(|d| d.service == other.present.service);
        let circular = |other: &Member| {
            other
                .dependencies()
                .iter()
                .any(|d| d.service == member.present.service)
        };
        let mut after: Vec<usize> = waiting
            .iter()
            .enumerate()
            .filter(|(_, o)| needs(o) && !circular(o))
            .map(|(i, _)| i)
            .collect();
        let of = |service: &str| -> Vec<usize> {
            let all = waiting.iter().enumerate();
            all.filter(|(at, o)| o.present.service == service && *at != i)
                .map(|(at, _)| at)
                .collect()
        };
        after.extend(gates.add(session, &names[i], &needed, &mut list, &of));
        let keys = project.and_then(|p| p.service(&member.present.service).ok());
        let hooks = keys.map(|k| hooks(k, "post_start")).unwrap_or_default();
        let container = &member.container;
        let task = &mut list[i];
        task.after = after;
        task.work = Box::new(move |warn| {
            run::start(session, container, None, warn)?;
            run_hooks(session, container, &hooks)
        });
    }
    tasks::run(list, most, &mut |step| hands.step(step))
}

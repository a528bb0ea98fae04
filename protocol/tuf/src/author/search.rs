//! Which roles a client reads to find a target: for a server that hands out these and no others.
//!
//! The order is that of [`Repository::target`](crate::Repository::target), which the tests hold it
//! against. Not here: trust. A client that needs another role asks for it in vain.

use crate::role::Targets;

/// The roles to which a search for one path comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search {
    /// The roles in the order of the search, `targets` first.
    pub roles: Vec<String>,
    /// Whether the last of them lists the path; otherwise nobody does, or a role is missing.
    pub is_found: bool,
}

impl Search {
    /// Searches for `path` among the roles that `role` knows.
    pub fn new<'a>(path: &str, role: impl Fn(&str) -> Option<&'a Targets>) -> Self {
        let mut to_visit = vec!["targets".to_owned()];
        let mut roles: Vec<String> = Vec::new();
        while let Some(name) = to_visit.pop() {
            if roles.contains(&name) {
                continue;
            }
            let targets = role(&name);
            roles.push(name);
            let Some(targets) = targets else { break };
            if targets.target(path).is_some() {
                return Self { roles, is_found: true };
            }
            let mut children = Vec::new();
            for delegation in targets.delegations_of(path) {
                children.push(delegation.role);
                // Spec 5.6.7.2.1: behind a terminating delegation nobody else is asked.
                if delegation.terminating {
                    to_visit.clear();
                    break;
                }
            }
            to_visit.extend(children.into_iter().rev());
        }
        Self { roles, is_found: false }
    }
}

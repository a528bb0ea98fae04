//! The words for where a device stands, for people.

use super::output::time;
use crate::domain::Deployment;
use crate::domain::standing::Standing;

/// Says in a sentence why a device has or has not the release.
pub(super) fn of(standing: Standing, now_ms: u64) -> String {
    match standing {
        Standing::Revoked => "It is shut out: nothing is offered to it.".to_owned(),
        Standing::NotMeant => "It is not in the group of the rollout.".to_owned(),
        Standing::PhaseToCome => "The phase that reaches it has not started.".to_owned(),
        Standing::AboveCeiling => {
            "It is above the ceiling that the release was signed with, and would refuse it."
                .to_owned()
        }
        Standing::Cancelled => {
            "The rollout was cancelled before it switched; the next one below decides.".to_owned()
        }
        Standing::Ended(deployment) => ended(&deployment),
        Standing::Unlisted => {
            "The release is not listed any more: devices would refuse it.".to_owned()
        }
        Standing::Stopped(state) => format!("The rollout is {state}: it offers nothing."),
        Standing::HasImage => "It runs the image already.".to_owned(),
        Standing::TooEarly(at) => format!("Nothing is offered before {}.", time(at)),
        Standing::Closed(Some(at)) => {
            format!("No maintenance window is open; the next one opens at {}.", time(at))
        }
        Standing::Closed(None) => "No maintenance window is open.".to_owned(),
        Standing::PutOff { times, of, until } => {
            format!("Its user put it off {times} of {of} times, until {}.", time(until))
        }
        Standing::TriesAgain { code, tries, of, at } => format!(
            "Its download failed, code {code}, in try {tries} of {of}; it is offered again after {}.",
            time(at)
        ),
        Standing::Waits => "It waits for a place among the devices in flight.".to_owned(),
        Standing::Offered(deployment) => offered(&deployment, now_ms),
    }
}

fn ended(deployment: &Deployment) -> String {
    let Deployment { state, code, changed_at, .. } = deployment;
    if code.is_none() {
        return format!("It ended as {state} at {}.", time(*changed_at));
    }
    format!("It ended as {state}, code {code}, at {}.", time(*changed_at))
}

fn offered(deployment: &Deployment, now_ms: u64) -> String {
    let minutes = now_ms.saturating_sub(deployment.changed_at) / 60_000;
    let Deployment { state, tries, deferred, .. } = deployment;
    let offered =
        format!("It was offered the release ({tries}. time) and is {state} for {minutes} minutes");
    match deferred {
        0 => format!("{offered}."),
        1 => format!("{offered}; its user put it off once."),
        times => format!("{offered}; its user put it off {times} times."),
    }
}

//! The ledger: how many devices of each phase are in each state, and whose time runs out.
//!
//! Kept up to date with every device and deployment by the only writer; all devices are gone through
//! only when a phase starts or a group changes. Polls do not look here.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};
use waxwing_wire::report::State;

use super::catalogue::Campaign;
use super::index::Index;
use super::members::{Members, Place};
use super::packed::Member;
use crate::domain::Deployment;
use crate::domain::rollout::budget::Budget;
use crate::domain::rollout::contact::Contact;
use crate::domain::rollout::health::{Comparison, Health, Side};
use crate::domain::rollout::patience::Listening;
use crate::domain::rollout::{Counts, Evidence, Plan};

/// Counts and clocks of all rollouts.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Every device, by its number and by what is known of it.
    pub(super) index: Index,
    /// When the server last said that it was alive before it started, in Unix milliseconds.
    alive_at: u64,
    /// Since when it has listened to devices.
    listening: Listening,
    /// By the number of the rollout.
    accounts: HashMap<u32, Account>,
}

/// Counts and clocks of a rollout.
#[derive(Debug, Default)]
struct Account {
    phases: Vec<Phase>,
    /// When something became of a device last, in Unix milliseconds.
    moved_at: u64,
    listening: Listening,
    overdue: Alarms,
    /// Devices by the time at which they are given up, in Unix milliseconds.
    timeouts: BTreeSet<(u64, u32)>,
    budget: Budget,
    /// Who could not reach the server, with the image and without it.
    contact: Contact,
    /// What telemetry says, with the image and without it.
    health: Health,
}

/// The devices of a phase.
#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    /// Those that have been heard of.
    known: Counts,
    /// All of them.
    members: u64,
    /// Those in flight that should have been heard of.
    overdue: u64,
}

/// Devices by the time from which on they are overdue, in Unix milliseconds.
#[derive(Debug, Default)]
struct Alarms {
    /// What is due by then has been taken out.
    looked_at: u64,
    /// With the phase in which each counts.
    set: BTreeSet<(u64, u32, u8)>,
}

impl Alarms {
    /// Sets an alarm; tells whether it would have gone off already.
    fn set(&mut self, at: u64, device: u32, phase: u8) -> bool {
        let is_past = at <= self.looked_at;
        if !is_past {
            self.set.insert((at, device, phase));
        }
        is_past
    }

    /// Takes an alarm back; tells whether it went off before.
    fn clear(&mut self, at: u64, device: u32, phase: u8) -> bool {
        self.set.remove(&(at, device, phase));
        at <= self.looked_at
    }

    /// Takes out who is due; gives the phase of each.
    fn go_off(&mut self, now_ms: u64) -> impl Iterator<Item = u8> {
        self.looked_at = self.looked_at.max(now_ms);
        let later = self.set.split_off(&(self.looked_at.saturating_add(1), 0, 0));
        std::mem::replace(&mut self.set, later).into_iter().map(|(_, _, phase)| phase)
    }
}

impl Ledger {
    /// Returns what is known of each started phase of a rollout. `members` is how many devices its group
    /// has.
    pub(super) fn evidence(&self, rollout: u32, members: impl FnOnce() -> u64) -> Vec<Evidence> {
        self.accounts.get(&rollout).map(|account| account.evidence(members)).unwrap_or_default()
    }

    /// Returns what telemetry says, by each rule of the plan.
    pub(super) fn health(&self, rollout: u32) -> Vec<Comparison> {
        let account = self.accounts.get(&rollout);
        account.map(|account| account.health.comparisons().to_vec()).unwrap_or_default()
    }

    /// Takes in what a device on one side says of itself.
    pub(super) fn hear(
        &mut self,
        campaign: &Campaign,
        device: (u32, Side),
        telemetry: &Map<String, Value>,
        now_ms: u64,
    ) {
        let plan = &campaign.rollout.plan;
        let account = self.account(campaign);
        account.health.hear(&plan.health, device, telemetry, (now_ms, plan.watch_s()));
    }

    /// Forgets who is watched for a rollout that is over.
    pub(super) fn conclude(&mut self, rollout: u32) {
        if let Some(account) = self.accounts.get_mut(&rollout) {
            account.health.conclude();
        }
    }

    /// Returns who could not reach the server.
    pub(super) fn contact(&mut self, campaign: &Campaign) -> &mut Contact {
        &mut self.account(campaign).contact
    }

    /// Takes from the byte budget of a rollout as many of the devices wanted as it has room for.
    pub(super) fn afford(&mut self, campaign: &Campaign, wanted: u64, now_ms: u64) -> u64 {
        let (plan, image_bytes) = (&campaign.rollout.plan, campaign.release.length);
        let account = self.account(campaign);
        account.budget.take(plan.bytes_per_s, image_bytes, wanted, now_ms)
    }

    /// Returns how many devices the byte budget of a rollout has room for by a time.
    pub(super) fn affordable(&mut self, campaign: &Campaign, now_ms: u64) -> u64 {
        let (plan, image_bytes) = (&campaign.rollout.plan, campaign.release.length);
        self.account(campaign).budget.holds(plan.bytes_per_s, image_bytes, now_ms)
    }

    /// Lets patience with the devices of a rollout begin as the server's did.
    pub(super) fn listen_to(&mut self, campaign: &Campaign, members: &Members) {
        let listening = self.listening;
        let account = self.account(campaign);
        account.listening = listening;
        // Where nobody is under way, no clock is running.
        if !account.timeouts.is_empty() {
            self.count_anew(campaign, members);
        }
    }

    /// Takes note of when the server last said that it was alive before it started.
    pub(super) const fn set_alive_at(&mut self, alive_at: u64) {
        self.alive_at = alive_at;
    }

    /// Lets patience begin now; tells whether it had not.
    pub(super) const fn begin_to_listen(&mut self, now_ms: u64) -> bool {
        let begins = self.listening.since == 0;
        if begins {
            let away_ms = now_ms.saturating_sub(self.alive_at);
            self.listening = Listening { since: now_ms, away_ms, seen_at: 0 };
        }
        begins
    }

    fn account(&mut self, campaign: &Campaign) -> &mut Account {
        let listening = self.listening;
        let account = self.accounts.entry(campaign.number);
        account.or_insert_with(|| Account { listening, ..Account::default() })
    }

    /// Takes note of what has become of a device itself.
    pub(super) fn move_member(
        &mut self,
        campaign: &Campaign,
        before: Option<&Member<'_>>,
        after: &Member<'_>,
    ) {
        let account = self.account(campaign);
        if let Some(before) = before {
            account.uncount(campaign, before);
        }
        account.count(campaign, after);
    }

    /// Counts the members of the phases that have started since the last time. Those before keep
    /// theirs: a cut-off is never moved.
    pub(super) fn open_phases(&mut self, campaign: &Campaign, members: &Members) {
        let account = self.account(campaign);
        let (counted, started) = (account.phases.len(), campaign.rollout.started().count());
        account.phases.resize(started.max(counted), Phase::default());
        if account.phases.len() == counted {
            return;
        }
        members.for_each(|member| {
            let after = campaign.counts_in(member).filter(|phase| *phase >= counted);
            account.move_member(None, after);
        });
    }

    /// Counts a rollout from the beginning: its phases reach other devices than before.
    pub(super) fn count_anew(&mut self, campaign: &Campaign, members: &Members) {
        let account = self.account(campaign);
        account.phases.clear();
        if campaign.rollout.started().next().is_none() {
            return;
        }
        account.phases.resize(campaign.rollout.started().count(), Phase::default());
        account.overdue.set.clear();
        account.timeouts.clear();
        account.contact.forget_ended();
        members.for_each(|member| account.count(campaign, member));
    }

    /// Takes note of a change of a deployment.
    pub(super) fn move_deployment(
        &mut self,
        campaign: &Campaign,
        member: &Member<'_>,
        before: Option<Deployment>,
    ) {
        let account = self.account(campaign);
        account.move_deployment(campaign, member, before);
    }

    /// Returns what becomes of a device's deployment by a time.
    pub(super) fn given_up(
        &self,
        campaign: &Campaign,
        member: &Member<'_>,
        now_ms: u64,
    ) -> Option<Deployment> {
        let listening = Listening { seen_at: member.seen_at, ..self.listening };
        let deployment = member.deployment(campaign.number)?;
        campaign.rollout.plan.on_time(&deployment, listening, now_ms)
    }

    /// Counts who is overdue by now.
    pub(super) fn look(&mut self, campaign: &Campaign, now_ms: u64) {
        let Some(account) = self.accounts.get_mut(&campaign.number) else { return };
        for phase in account.overdue.go_off(now_ms) {
            if let Some(phase) = account.phases.get_mut(usize::from(phase)) {
                phase.overdue += 1;
            }
        }
    }

    /// Returns who has timed out by now, those first whose time ran out first.
    pub(super) fn timed_out(&self, rollout: u32, now_ms: u64, limit: usize) -> Vec<Place> {
        let timeouts = self.accounts.get(&rollout).map(|account| &account.timeouts);
        let due = timeouts.into_iter().flat_map(|it| it.range(..=(now_ms, u32::MAX)));
        due.filter_map(|(_, number)| self.index.place(*number)).take(limit).collect()
    }
}

impl Account {
    fn evidence(&self, members: impl FnOnce() -> u64) -> Vec<Evidence> {
        let moved = |phase: &Phase| Evidence { moved_at: self.moved_at, ..phase.evidence() };
        let mut phases: Vec<_> = self.phases.iter().map(moved).collect();
        if self.contact.is_wanting() {
            let without = members().saturating_sub(Evidence::sum(&phases).counts.switched());
            for (number, phase) in (0..).zip(&mut phases) {
                let looked_at = self.overdue.looked_at;
                phase.unreachable = self.contact.unreachable(number, without, looked_at);
            }
        }
        phases
    }

    fn phase(&mut self, phase: Option<usize>) -> Option<&mut Phase> {
        self.phases.get_mut(phase?)
    }

    fn move_member(&mut self, before: Option<usize>, after: Option<usize>) {
        if before == after {
            return;
        }
        if let Some(phase) = self.phase(before) {
            phase.members = phase.members.saturating_sub(1);
        }
        if let Some(phase) = self.phase(after) {
            phase.members += 1;
        }
    }

    /// Counts a member of which nothing was counted before.
    fn count(&mut self, campaign: &Campaign, member: &Member<'_>) {
        self.see(campaign, member);
        self.move_member(None, campaign.counts_in(member));
        if let Some(deployment) = campaign.counted(member) {
            self.add(&campaign.rollout.plan, member, &deployment);
        }
    }

    /// Takes back what was counted of a member.
    fn uncount(&mut self, campaign: &Campaign, member: &Member<'_>) {
        self.move_member(campaign.counts_in(member), None);
        if let Some(deployment) = campaign.counted(member) {
            self.remove(&campaign.rollout.plan, member, &deployment);
        }
    }

    fn move_deployment(
        &mut self,
        campaign: &Campaign,
        member: &Member<'_>,
        before: Option<Deployment>,
    ) {
        self.see(campaign, member);
        let before = before.filter(|it| campaign.still_counts(member, it));
        let after = campaign.counted(member);
        let places = [before, after].map(|it| campaign.counts_with(member, it.as_ref()));
        self.move_member(places[0], places[1]);
        if let Some(before) = before {
            self.remove(&campaign.rollout.plan, member, &before);
        }
        if let Some(after) = after {
            self.add(&campaign.rollout.plan, member, &after);
        }
    }

    fn see(&mut self, campaign: &Campaign, member: &Member<'_>) {
        let changed_at = member.deployment(campaign.number).map_or(0, |it| it.changed_at);
        self.moved_at = self.moved_at.max(changed_at);
    }

    fn add(&mut self, plan: &Plan, member: &Member<'_>, deployment: &Deployment) {
        let (listening, device) = (self.listening_to(member), member.number);
        let Deployment { state, phase, .. } = *deployment;
        let overdue_at = plan.overdue_at(deployment, listening);
        let is_overdue = overdue_at.is_some_and(|at| self.overdue.set(at, device, phase));
        self.timeouts.extend(plan.times_out_at(deployment, listening).map(|at| (at, device)));
        self.contact.add(deployment);
        if let Some(phase) = self.phases.get_mut(usize::from(phase)) {
            phase.known.add(state);
            phase.overdue += u64::from(is_overdue);
        }
    }

    fn remove(&mut self, plan: &Plan, member: &Member<'_>, deployment: &Deployment) {
        let (listening, device) = (self.listening_to(member), member.number);
        let Deployment { state, phase, .. } = *deployment;
        let overdue_at = plan.overdue_at(deployment, listening);
        let was_overdue = overdue_at.is_some_and(|at| self.overdue.clear(at, device, phase));
        if let Some(at) = plan.times_out_at(deployment, listening) {
            self.timeouts.remove(&(at, device));
        }
        self.contact.remove(deployment);
        if let Some(phase) = self.phases.get_mut(usize::from(phase)) {
            phase.known.remove(state);
            phase.overdue = phase.overdue.saturating_sub(u64::from(was_overdue));
        }
    }

    const fn listening_to(&self, member: &Member<'_>) -> Listening {
        Listening { seen_at: member.seen_at, ..self.listening }
    }
}

impl Phase {
    /// Members that nothing is known of are waiting.
    fn evidence(&self) -> Evidence {
        let mut counts = self.known;
        counts.add_many(State::Waiting, self.members.saturating_sub(counts.total()));
        Evidence { counts, overdue: self.overdue, ..Evidence::default() }
    }
}

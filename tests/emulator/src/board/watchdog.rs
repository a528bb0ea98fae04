//! One watchdog: four stages, each with a time and an action, started anew by feeding. Used by both
//! timer groups and by the low-power domain, which differ in registers and clocks only.

/// What a stage does when its time is over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Action {
    /// Nothing: the next stage begins.
    #[default]
    Off,
    /// Raises the watchdog's interrupt.
    Interrupt,
    /// Resets the core.
    ResetCpu,
    /// Resets all digital parts but the low-power domain.
    ResetCore,
    /// Resets the low-power domain too; only its own watchdog can.
    ResetSystem,
}

impl Action {
    /// Decodes the field of a configuration register.
    pub(crate) const fn of_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Interrupt,
            2 => Self::ResetCpu,
            3 => Self::ResetCore,
            4 => Self::ResetSystem,
            _ => Self::Off,
        }
    }
}

/// A watchdog and where it is in its stages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchdog {
    /// What each stage does.
    pub(crate) actions: [Action; 4],
    /// How long each stage takes, in cycles of the core.
    pub(crate) cycles: [u64; 4],
    enabled: bool,
    stage: usize,
    since: u64,
}

impl Watchdog {
    /// Switches it on or off; switching on begins at the first stage.
    pub(crate) const fn enable(&mut self, now: u64, enabled: bool) {
        if enabled && !self.enabled {
            self.feed(now);
        }
        self.enabled = enabled;
    }

    /// Begins at the first stage.
    pub(crate) const fn feed(&mut self, now: u64) {
        self.stage = 0;
        self.since = now;
    }

    /// Returns when the running stage ends.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.enabled.then(|| self.since.saturating_add(self.stage_cycles()))
    }

    /// Returns the action of a stage that has ended.
    pub(crate) fn tick(&mut self, now: u64) -> Option<Action> {
        if self.deadline()? > now {
            return None;
        }
        let action = self.actions.get(self.stage).copied();
        self.since = now;
        self.stage = (self.stage + 1) % self.actions.len();
        action
    }

    /// A stage without time would never let the others run.
    fn stage_cycles(&self) -> u64 {
        self.cycles.get(self.stage).copied().unwrap_or(0).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog() -> Watchdog {
        let actions = [Action::Interrupt, Action::ResetCore, Action::Off, Action::Off];
        let mut watchdog = Watchdog { actions, cycles: [100, 50, 10, 10], ..Watchdog::default() };
        watchdog.enable(0, true);
        watchdog
    }

    #[test]
    fn stages_follow_each_other_while_nobody_feeds() {
        let mut watchdog = watchdog();
        assert_eq!(watchdog.tick(99), None);
        assert_eq!(watchdog.tick(100), Some(Action::Interrupt));
        assert_eq!(watchdog.tick(149), None);
        assert_eq!(watchdog.tick(150), Some(Action::ResetCore));
    }

    #[test]
    fn feeding_starts_over_and_switching_off_ends_it() {
        let mut watchdog = watchdog();
        watchdog.tick(100);
        watchdog.feed(120);
        assert_eq!(watchdog.deadline(), Some(220));
        watchdog.enable(130, false);
        assert_eq!((watchdog.deadline(), watchdog.tick(10_000)), (None, None));
    }
}

//! What goes wrong around one device, and how often it has.
//!
//! Line, clock, power, flash and application ask here; the agent, which sees them through its ports,
//! does not. Not here: which devices have trouble, see [`Mix`](crate::profile::Mix).

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use waxwing_agent::policy::Jitter;
use waxwing_agent::ports::Slot;
use waxwing_esp_image::SECTOR_BYTES;

use crate::board::Layout;
use crate::flash::{PowerCut, Tear};
use crate::line::Link;
use crate::profile::Profile;
use crate::time::Uptime;

/// Operations of the flash from one power cut to the next: few enough for some in every download, and
/// enough for a download to come to its end between them.
const CUT_AFTER: Range<u32> = 20..100;

/// For how long a user puts a restart off: two polls of a fleet that is in a hurry.
const PUTS_OFF: Duration = Duration::from_secs(5);

/// What goes wrong around one device. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Rc<State>);

#[derive(Debug)]
struct State {
    profile: Profile,
    luck: RefCell<Jitter>,
    times: Cell<u64>,
}

impl Default for State {
    fn default() -> Self {
        let luck = RefCell::new(Jitter::new(0));
        Self { profile: Profile::default(), luck, times: Cell::new(0) }
    }
}

impl Trouble {
    /// Makes the trouble of a device; the same seed makes the same.
    pub fn new(profile: Profile, seed: u64) -> Self {
        let luck = RefCell::new(Jitter::new(seed));
        Self(Rc::new(State { profile, luck, times: Cell::new(0) }))
    }

    /// Returns how often something went wrong.
    pub fn times(&self) -> u64 {
        self.0.times.get()
    }

    /// Counts something that went wrong.
    pub(crate) fn happened(&self) {
        self.0.times.set(self.0.times.get() + 1);
    }

    /// Draws whether something goes wrong that does so this often, and counts it.
    pub(crate) fn strikes(&self, permille: u32) -> bool {
        // Where nothing can go wrong, no luck is used up: what else it decides stays the same.
        let strikes = permille > 0 && self.draw(0..1000) < permille;
        if strikes {
            self.happened();
        }
        strikes
    }

    /// Returns how the device's line is.
    pub(crate) fn link(&self) -> Link {
        match self.0.profile {
            Profile::Latency => Link::LATE,
            Profile::Loss => Link::LOSSY,
            Profile::Slow => Link::SLOW,
            Profile::BadSector
            | Profile::Clean
            | Profile::Clock
            | Profile::Crash
            | Profile::Defer
            | Profile::PowerCuts => Link::GOOD,
        }
    }

    /// Starts the clock of the device.
    pub(crate) fn uptime(&self) -> Uptime {
        if self.0.profile != Profile::Clock {
            return Uptime::start();
        }
        self.happened();
        Uptime::start_wrong()
    }

    /// Returns the next power cut of a flash that has done so many operations.
    pub(crate) fn next_cut(&self, operations: u64) -> Option<PowerCut> {
        if self.0.profile != Profile::PowerCuts {
            return None;
        }
        let operation = operations + u64::from(self.draw(CUT_AFTER));
        let at = usize::try_from(self.draw(0..SECTOR_BYTES)).unwrap_or(0);
        let tear = match self.draw(0..3) {
            0 => Tear::Bytes(0),
            1 => Tear::Bytes(at),
            _ => Tear::AllBut(at),
        };
        Some(PowerCut { operation, tear })
    }

    /// Returns which sector keeps nothing: one that an image of this length needs.
    pub(crate) fn bad_sector(&self, layout: Layout, image_bytes: usize) -> Option<usize> {
        if self.0.profile != Profile::BadSector {
            return None;
        }
        let image = u32::try_from(image_bytes).ok()?.div_ceil(SECTOR_BYTES).max(1);
        let first = layout.partition_of(Slot::Ota(1))?.offset / SECTOR_BYTES;
        usize::try_from(first + self.draw(0..image)).ok()
    }

    /// Returns for how long the device's user puts every restart off.
    pub(crate) fn puts_off(&self) -> Option<Duration> {
        (self.0.profile == Profile::Defer).then_some(PUTS_OFF)
    }

    /// Tells whether images other than the first crash.
    pub(crate) fn crashes_updates(&self) -> bool {
        self.0.profile == Profile::Crash
    }

    fn draw(&self, range: Range<u32>) -> u32 {
        let length = range.end.saturating_sub(range.start).max(1);
        range.start + self.0.luck.borrow_mut().draw() % length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(seed: u64) -> Vec<PowerCut> {
        let trouble = Trouble::new(Profile::PowerCuts, seed);
        (0..10).map(|_| trouble.next_cut(1000).unwrap()).collect()
    }

    #[test]
    fn a_seed_makes_the_same_trouble_again_and_another_one_other_trouble() {
        assert_eq!(cuts(1), cuts(1));
        assert_ne!(cuts(1), cuts(2));
        let cuts = cuts(3);
        assert!(cuts.iter().all(|cut| (1020..1100).contains(&cut.operation)), "{cuts:?}");
    }

    #[test]
    fn the_bad_sector_is_one_that_an_update_needs() {
        let layout = Layout::new(128 * 1024);
        let slot = usize::try_from(layout.partition_of(Slot::Ota(1)).unwrap().offset).unwrap();
        let bad = |seed| Trouble::new(Profile::BadSector, seed).bad_sector(layout, 3 * 4096 + 1);
        let sectors: Vec<_> = (0..40).filter_map(bad).collect();
        assert_eq!(sectors.len(), 40);
        assert!(sectors.iter().all(|sector| (0..4).contains(&(sector - slot / 4096))));
    }

    #[test]
    fn a_device_without_trouble_has_none() {
        let none = Trouble::default();
        assert_eq!(none.link(), Link::GOOD);
        assert_eq!(none.next_cut(0), None);
        assert_eq!(none.bad_sector(Layout::new(128 * 1024), 4096), None);
        assert!(!none.crashes_updates() && !none.strikes(0));
        assert_eq!(none.times(), 0);
    }
}

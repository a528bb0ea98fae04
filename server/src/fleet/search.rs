//! Searching the fleet: who a query asks for, before a group is made of it.

use waxwing_wire::ProductId;

use super::Fleet;
use super::packed::Member;
use crate::domain::{Device, Query};

/// Which of the devices that were found are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// After the device of this number; `None`: from the first.
    pub after: Option<u32>,
    /// So many at most.
    pub limit: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many devices in all.
    pub count: u64,
    /// How many devices were searched.
    pub of: u64,
    /// Of how many devices each comparison is true by itself, from left to right.
    pub terms: Vec<(String, u64)>,
    /// The page, in the order of registration, each with its number.
    pub devices: Vec<(u32, Device)>,
}

impl Fleet {
    /// Searches the devices of a product, or all of them.
    pub fn search(&self, query: &Query, product: Option<&ProductId>, page: Page) -> Found {
        let ledger = self.ledger();
        let search = self.searching(&ledger);
        let all = || search.all();
        let within = product.map_or_else(all, |product| search.of_product(product.as_str()));
        let found = search.within(query, &within);
        let count = |term| (format!("{term}"), search.term(term, &within).len());
        let from = page.after.map_or(0, |after| after.saturating_add(1));
        let look = |member: &Member<'_>| (member.number, member.device());
        let devices = search.devices(&found, from, look).take(page.limit);
        Found {
            count: found.len(),
            of: within.len(),
            terms: query.terms().into_iter().map(count).collect(),
            devices: devices.collect(),
        }
    }
}

//! Shapes that many answers share.

use serde::Serialize;
use utoipa::ToSchema;
use waxwing_tuf::Time;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items, in order.
    items: Vec<T>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    next: Option<String>,
}

impl<T> Page<T> {
    /// Makes a page of items that were asked for with one more than `limit`: if that one came, there
    /// is a next page.
    pub(super) fn of(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}

/// Writes a time as RFC 3339, in seconds.
pub(super) fn time(at_ms: u64) -> String {
    Time::from_millis(at_ms).to_string()
}

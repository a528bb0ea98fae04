//! How it is shown whom a query finds.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use waxwing_wire::{DeviceId, ProductId};

use crate::domain::device::{Status, Tags};
use crate::domain::{Device, Query};
use crate::fleet::Found;

/// Whom a query finds now.
#[derive(Serialize, ToSchema)]
pub(in crate::http::admin) struct Preview {
    /// The query, in the spelling in which a group keeps it.
    query: String,
    /// How many devices it finds.
    count: u64,
    /// How many devices there are.
    of: u64,
    /// What each comparison finds by itself, from left to right.
    terms: Vec<TermView>,
    /// The devices.
    devices: Vec<FoundView>,
    /// Pass it as `after` to get the next page; `null` on the last one.
    next: Option<u32>,
}

/// What one comparison finds by itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Term)]
pub(in crate::http::admin) struct TermView {
    /// The comparison.
    term: String,
    /// How many devices it finds.
    count: u64,
}

/// A device that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = FoundDevice)]
pub(in crate::http::admin) struct FoundView {
    /// Its name.
    #[schema(value_type = String)]
    id: DeviceId,
    /// What it is.
    #[schema(value_type = String)]
    product: ProductId,
    /// Whether it may talk to us.
    status: Status,
    /// What operators call it by.
    #[schema(value_type = Object)]
    tags: Tags,
    /// What is known of it; what operators say counts more than what it says.
    attributes: BTreeMap<String, String>,
    /// Release that it said to run when it last polled.
    version: Option<String>,
}

impl Preview {
    pub(super) fn new(query: &Query, found: Found, limit: usize) -> Self {
        let last = found.devices.last().map(|(number, _)| *number);
        Self {
            query: query.to_string(),
            count: found.count,
            of: found.of,
            terms: found.terms.into_iter().map(|(term, count)| TermView { term, count }).collect(),
            next: last.filter(|_| found.devices.len() == limit),
            devices: found.devices.iter().map(|(_, device)| FoundView::from(device)).collect(),
        }
    }
}

impl From<&Device> for FoundView {
    fn from(device: &Device) -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            id: device.id.clone(),
            product: device.product.clone(),
            status: device.status,
            tags: device.tags.clone(),
            attributes: device.attributes.iter().map(owned).collect(),
            version: device.version.as_ref().map(ToString::to_string),
        }
    }
}
